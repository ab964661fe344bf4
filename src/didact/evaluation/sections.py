"""The report's tables as rows of strings; the template escapes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from didact.documents import Document, Values
from didact.evaluation import phrases, wording
from didact.evaluation.charts import arm_colours
from didact.evaluation.comparison import Comparison
from didact.types import LEVELS, Cost, Verdict

Diagnostics = Mapping[str, Any]
Verdicts = Sequence[Mapping[str, Any] | tuple[int, Verdict]]

_LARGEST_MATRIX = 20
"""With more classes than this, the most confused pairs are listed instead."""

_PAIRS = 15

_LISTED = 30
"""The largest number of elements of a list that is shown in the configuration."""


def arms_table(comparison: Comparison) -> list[Document]:
    """One row per arm: name, colour, mean, difference, interval and finding."""
    colours = arm_colours(comparison)
    rows = []
    for arm in comparison.arms:
        row = {"arm": arm, "colour": colours[arm], "finding": comparison.finding(arm)}
        row["mean"] = phrases.mean_text(comparison.metric, comparison.summary(arm))
        row["difference"] = row["interval"] = ""
        if arm != comparison.reference:
            difference = comparison.difference(arm)
            row["difference"] = wording.figure(comparison.metric, difference.mean, like=difference.half, sign=True)
            row["interval"] = phrases.interval_text(comparison.metric, difference)
        rows.append(row)
    blank = {"mean": "", "difference": "", "interval": "", "colour": "transparent", "finding": "failed"}
    return [*rows, *({**blank, "arm": arm} for arm in comparison.failures)]


def metrics_table(comparison: Comparison) -> Document:
    """All metrics of all arms: `columns` and `rows` of (arm, cells)."""
    names = comparison.metrics
    cells = {arm: [phrases.mean_text(name, comparison.summary(arm, name)) for name in names] for arm in comparison.arms}
    return {"columns": [phrases.heading(name) for name in names], "rows": list(cells.items())}


def costs_table(costs: Mapping[str, Mapping[str, float]]) -> Document:
    """The cost of each arm, on the axes where some arm spent something: `columns` and `rows` of (arm, cells)."""
    axes = [axis for axis in Cost().as_dict() if any(cost.get(axis) for cost in costs.values())]
    rows = [(arm, [wording.cost_figure(axis, cost.get(axis, 0)) for axis in axes]) for arm, cost in costs.items()]
    return {"columns": [wording.name_of(axis) for axis in axes], "rows": rows}


def figures_table(figures: Mapping[str, Mapping[str, float]]) -> Document:
    """Metrics of single runs, those that the first has: `columns`, the runs, and `rows` of (metric, cells)."""
    rows = [
        (
            phrases.heading(name),
            [wording.figure(name, one[name]) if name in one else "\u2013" for one in figures.values()],
        )
        for name in next(iter(figures.values()))
    ]
    return {"columns": list(figures), "rows": rows}


def committee_table(found: Values) -> Document | None:
    """The members of a committee of teachers: `columns` and `rows` of (name, cells); None without a committee.

    Args:
        found: `committee` of a run's `result.json`.
    """
    if not found:
        return None
    metric, members = found["metric"], found["members"]
    taught = "share" in members[0]
    axes = [
        axis for axis in ("teacher_calls", "teacher_tokens", "money") if any(axis in one["spent"] for one in members)
    ]
    columns = [*(["share (%)", "most for"] if taught else []), *map(wording.name_of, axes)]
    columns += [f"{phrases.heading(metric)}, alone", "without it", "worth", *(["worth (nats)"] if taught else [])]
    rows = []
    for one in members:
        cells = [f"{100 * one['share']:.0f}", f"{one['most_for']} ({one['share_there']:.0%})"] if taught else []
        cells += [wording.cost_figure(axis, one["spent"].get(axis, 0)) for axis in axes]
        cells += [wording.figure(metric, one[name]) for name in ("alone", "without")]
        cells += [wording.figure(metric, one["worth"], sign=True)]
        rows.append((one["name"], [*cells, *([f"{one['nll_worth']:+.3f}"] if taught else [])]))
    return {"columns": columns, "rows": rows}


def students_table(found: Values) -> Document:
    """The students that a search tried: `columns` and `rows` of (name, cells).

    Args:
        found: the contents of the search's `result.json`.
    """
    metric = found["metric"]
    columns = [f"{phrases.heading(metric)}, validation", "budget", "seeds", "parameters", "MB", "ms for 1,000 rows", ""]
    rows = []
    for row in found["rows"]:
        mark = "chosen" if row["name"] == found["name"] else "front" if row["front"] else ""
        if row["failed"]:
            rows.append((row["name"], ["failed", *["\u2013"] * 5, mark]))
            continue
        numbers = [wording.number(row["parameters"], 0), f"{row['megabytes']:.3g}", f"{row['milliseconds']:.3g}"]
        taught = [f"{row['share']:.0%}", str(len(row["seeds"]))]
        rows.append((row["name"], [wording.figure(metric, row["metric"]), *taught, *numbers, mark]))
    return {"columns": columns, "rows": rows}


def budget_note(comparison: Comparison) -> str:
    """Whether the arms spent the same labels and steps."""
    same, notes = [], []
    for axis in ("labels", "steps"):
        spent = [comparison.cost(arm)[axis] for arm in comparison.arms]
        low, high = (wording.cost_figure(axis, end(filter(None, spent), default=0)) for end in (min, max))
        if all(spent) and low == high:
            same.append(f"{low} {axis}")
        elif any(spent) and low == high:
            notes.append(f"Those that used {axis} used {low} each.")
        elif any(spent):
            notes.append(f"The arms did not use the same number of {axis} ({low} to {high}).")
    return " ".join([*([f"Every arm used {wording.join_words(same)}."] if same else []), *notes])


def monitors_table(verdicts: Mapping[str, Verdicts]) -> list[Document]:
    """The objections of monitors, one row per arm, monitor and level: how often, when, and the last reason."""
    rows: dict[tuple[str, str, str], Document] = {}
    for arm, found in verdicts.items():
        for step, verdict in map(_as_pair, found):
            if verdict["level"] == "ok":
                continue
            key = (arm, verdict["monitor"], verdict["level"])
            row = rows.setdefault(key, {"arm": arm, **verdict, "times": 0, "first": step})
            row.update(verdict, times=row["times"] + 1, last=step)
    return sorted(rows.values(), key=lambda row: -LEVELS.index(row["level"]))


def _as_pair(verdict: Values | tuple[int, Verdict]) -> tuple[int, Document]:
    if isinstance(verdict, tuple):
        step, said = verdict
        return step, {"level": said.level, "monitor": said.monitor, "reason": said.reason}
    return verdict["step"], {key: verdict[key] for key in ("level", "monitor", "reason")}


def confusion_table(name: str, diagnostics: Diagnostics) -> Document | None:
    """A confusion matrix with a shade for each cell, or the most confused pairs if there are many classes.

    Returns:
        `name`, `classes` and either `rows` of (class, cells) or `pairs`; None if there is no matrix.
    """
    counts = diagnostics.get("confusion")
    if not counts:
        return None
    classes = diagnostics["classes"]
    if len(classes) > _LARGEST_MATRIX:
        return {"name": name, "classes": classes, "pairs": _confused_pairs(counts, classes)}
    rows = []
    for i, (label, row) in enumerate(zip(classes, counts, strict=True)):
        total = sum(row) or 1
        cells = [{"count": n, "share": n / total, "right": i == j} for j, n in enumerate(row)]
        rows.append((label, cells))
    return {"name": name, "classes": classes, "rows": rows}


def recalls_table(diagnostics: Diagnostics) -> Document | None:
    """The recall and precision of each class, the lowest recalls first: `columns` and `rows` of (class, cells).

    Returns:
        At most `_LISTED` classes with test examples; None if there is no confusion matrix.
    """
    counts = diagnostics.get("confusion")
    if not counts:
        return None
    predicted = [sum(column) for column in zip(*counts, strict=True)]
    rows = [
        (name, row[i] / sum(row), row[i] / predicted[i] if predicted[i] else None, sum(row), predicted[i])
        for i, (name, row) in enumerate(zip(diagnostics["classes"], counts, strict=True))
        if sum(row)
    ]
    rows.sort(key=lambda row: row[1])
    shown = [
        (name, [f"{100 * recall:.1f}", "\u2013" if precision is None else f"{100 * precision:.1f}", str(of), str(said)])
        for name, recall, precision, of, said in rows[:_LISTED]
    ]
    return {"columns": ["recall (%)", "precision (%)", "test examples", "predictions"], "rows": shown}


def _confused_pairs(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> list[Document]:
    pairs = [
        {"label": classes[i], "answer": classes[j], "count": n, "share": f"{100 * n / sum(row):.0f}%"}
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
        if n and i != j
    ]
    return sorted(pairs, key=lambda pair: -pair["count"])[:_PAIRS]


def configuration(config: Values) -> list[tuple[str, list[tuple[str, str]]]]:
    """A nested configuration as titled groups of (name, value): each mapping at the top level is a group."""
    groups = {
        "Run": [(str(key), format_value(value)) for key, value in config.items() if not isinstance(value, Mapping)]
    }
    for key, value in config.items():
        if isinstance(value, Mapping):
            title = str(key).replace("_", " ")
            groups[title[:1].upper() + title[1:]] = list(_flat(value))
    return [(title, rows) for title, rows in groups.items() if rows]


def _flat(values: Values, prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        rows += _flat(value, f"{name}.") if isinstance(value, Mapping) and value else [(name, format_value(value))]
    return rows


def format_value(value: object) -> str:
    """Format a value of a configuration."""
    if value is None or (isinstance(value, Mapping | Sequence) and not value):
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        more = f" and {len(value) - _LISTED} more" if len(value) > _LISTED else ""
        return ", ".join(map(format_value, value[:_LISTED])) + more
    return str(value)


def find_value(config: Values, key: str) -> str | None:
    """The outermost value of a key in a nested configuration that is not a mapping; None if there is none."""
    if config.get(key) is not None and not isinstance(config[key], Mapping):
        return format_value(config[key])
    inner = (find_value(value, key) for value in config.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)
