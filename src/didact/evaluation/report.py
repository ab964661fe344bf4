"""The report: one self-contained HTML file, which needs no network."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from didact.documents import Document, Values, parse_json
from didact.errors import DataError, MissingExtraError
from didact.evaluation import charts, phrases, sections, wording
from didact.evaluation.comparison import Comparison
from didact.evaluation.measures import diagnostics as diagnostics_of
from didact.evaluation.measures import merge_diagnostics
from didact.evaluation.predictions import Predictions

_PERCENTAGES = ("eval/accuracy", "eval/balanced_accuracy", "eval/macro_f1", "eval/auroc")
_ONE = "answers"
HEADLINES = ("accuracy", "balanced_accuracy", "r2")
"""The metrics of a run's headline; of other runs it is the first."""


def write_comparison_report(
    path: str | Path,
    comparison: Comparison,
    *,
    config: Values | None = None,
    curves: Mapping[str, Sequence[charts.History]] | None = None,
    diagnostics: Mapping[str, sections.Diagnostics] | None = None,
    verdicts: Mapping[str, sections.Verdicts] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of a comparison.

    Args:
        path: the HTML file; its folder is created if missing.
        comparison: the comparison.
        config: the resolved configuration, versions, fingerprint of the data and commit; mappings in it are groups.
        curves: by arm, the records of `metrics.jsonl` of each seed.
        diagnostics: by arm, from `evaluation.diagnostics`; by default those of the results, pooled over seeds.
        verdicts: by arm, the verdicts of monitors: records of `verdicts.jsonl`, or pairs of a step and a `Verdict`.
        notes: sentences for a reader of the figures.

    Returns:
        The path.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    config = config or {}
    pooled = pool_diagnostics(comparison) if diagnostics is None else diagnostics
    words = comparison.sentence()
    first, rest = _first_sentence(words)
    seeds = f"{len(comparison.seeds)} seed{'s' if len(comparison.seeds) > 1 else ''}"
    page = {
        "kind": "Comparison",
        "facts": [
            fact for fact in (sections.find_value(config, "data"), seeds, f"{len(comparison.arms)} arms") if fact
        ],
        "headline": first,
        "lead": rest,
        "comparison": comparison,
        "metric_heading": phrases.heading(comparison.metric),
        "arms": sections.arms_table(comparison),
        "forests": _forests(comparison),
        "metrics": sections.metrics_table(comparison),
        "costs": sections.costs_table({arm: comparison.cost(arm) for arm in comparison.arms}),
        "cost_note": sections.budget_note(comparison),
        "curves": _arm_curves(comparison, curves or {}),
        **_answers(pooled, _shown_arms(comparison), charts.arm_colours(comparison)),
        "monitors": sections.monitors_table(verdicts or {}),
        "watched": verdicts is not None,
        "notes": notes,
        "recalls": None,
        "configuration": sections.configuration(config),
    }
    return _write(path, page)


def write_run_report(
    path: str | Path,
    *,
    config: Values,
    metrics_history: charts.History,
    verdicts: sections.Verdicts,
    result: Values,
    diagnostics: Predictions | sections.Diagnostics | None = None,
    views: Values | None = None,
) -> Path:
    """Write the report of one run.

    Args:
        path: the HTML file; its folder is created if missing.
        config: the contents of `config.json`; mappings in it are groups.
        metrics_history: the records of `metrics.jsonl`.
        verdicts: the records of `verdicts.jsonl`, or pairs of a step and a `Verdict`.
        result: the contents of `result.json`. It uses `reason`; the final metrics, `metrics` on the test examples or
            else `best`; the `teacher`'s metrics; `cost` and `teacher_cost`; `parameters`; `notes`. Each may be missing.
        diagnostics: the predictions on the test examples, or the result of `evaluation.diagnostics` for them.
        views: the contents of `views.json`, some training examples in the views that the student learned from.

    Returns:
        The path.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    drawn = diagnostics_of(diagnostics) if isinstance(diagnostics, Predictions) else diagnostics or {}
    headline, lead = _run_words(config, result)
    facts = [fact for key in ("method", "source", "student") if (fact := sections.find_value(config, key))]
    if result.get("parameters"):
        facts.append(f"{wording.number(result['parameters'], 0)} parameters")
    page = {
        "kind": "Run",
        "facts": facts,
        "headline": headline,
        "lead": lead,
        "comparison": None,
        "tiles": _tiles(_final_figures(result)),
        "notes": [*result.get("notes", ()), *_teacher_note(result)],
        "beside": _beside_teacher(result),
        "committee": sections.committee_table(result.get("committee") or {}),
        "committee_note": _committee_note(result.get("committee") or {}),
        "costs": _run_costs(result),
        "cost_note": "",
        "curves": _run_curves(metrics_history),
        **_answers({_ONE: drawn}, [_ONE], {_ONE: charts.colour(1)}),
        "recalls": sections.recalls_table(drawn),
        "views": views,
        "monitors": sections.monitors_table({"": verdicts}),
        "watched": True,
        "configuration": sections.configuration(config),
    }
    return _write(path, page)


def write_compression_report(path: str | Path, found: Values, *, config: Values) -> Path:
    """Write the report of a search for a small or fast student.

    Args:
        path: the HTML file; its folder is created if missing.
        found: the contents of its `result.json`.
        config: the contents of its `config.json`.

    Returns:
        The path.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    metric, footprint = found["metric"], found["footprint"]
    rows = [row for row in found["rows"] if not row["failed"]]
    tiles = _tiles({metric: found["metrics"][metric]})
    tiles += [("parameters", wording.number(footprint["parameters"], 0), "")]
    tiles += [("exported file", f"{footprint['megabytes']:.3g}", "MB")]
    tiles += [
        ("1,000 rows", f"{footprint['milliseconds']:.3g}", "ms"),
        ("speed beside the teacher's", f"{found['speedup']:.3g}", "times"),
    ]
    bound = found["teacher_validation"] - found["within"] / 100
    axes = {"parameters": "parameters", "megabytes": "MB of the exported file", "milliseconds": "ms for 1,000 rows"}
    drawn = {
        title: charts.tradeoff_chart(
            [row for row in rows if row[axis] > 0], axis, title, metric, chosen=found["name"], bound=bound
        )
        for axis, title in axes.items()
    }
    page = {
        "kind": "Compression",
        "facts": [config["data"].get("name", ""), f"{len(found['rows'])} students tried"],
        "headline": found["sentences"][0],
        "lead": found["sentences"][1],
        "comparison": None,
        "tiles": tiles,
        "notes": found["notes"],
        "beside": sections.figures_table({"student": found["metrics"], "teacher": found["teacher"]}),
        "costs": {"columns": []},
        "curves": [],
        "students": sections.students_table(found),
        "tradeoffs": [{"title": f"Against {title}", "chart": chart} for title, chart in drawn.items()],
        "calibration": None,
        "scatter": None,
        "confusions": [],
        "said": [],
        "recalls": None,
        "monitors": [],
        "watched": False,
        "configuration": sections.configuration({name: config[name] for name in ("compress", "config", "data")}),
    }
    return _write(path, page)


def read_run(run: str | Path) -> Document:
    """Read a run's directory as the keyword arguments of `write_run_report`.

    Missing files are read as empty; lines that are not records, such as a truncated one, are left out.
    `diagnostics.json` and `views.json` are read if there are any.

    Raises:
        DataError: the directory has no `config.json`, so it is not a run.
    """
    run = Path(run)
    if not (run / "config.json").exists():
        raise DataError(f"{run} is no run: it holds no config.json. Give the directory of a run.")

    def lines(name: str) -> list[Any]:
        found = (run / name).read_text().splitlines() if (run / name).is_file() else []
        return [one for one in map(_parsed, found) if isinstance(one, dict) and isinstance(one.get("step"), int)]

    def document(name: str) -> Any:
        return (_parsed((run / name).read_text()) if (run / name).is_file() else None) or {}

    return {
        "config": document("config.json"),
        "metrics_history": lines("metrics.jsonl"),
        "verdicts": lines("verdicts.jsonl"),
        "result": document("result.json"),
        "diagnostics": document("diagnostics.json") or None,
        "views": document("views.json") or None,
    }


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return None


def pool_diagnostics(comparison: Comparison) -> dict[str, sections.Diagnostics]:
    """The diagnostics of every arm whose results have them, pooled over the seeds."""
    pooled = {
        arm: merge_diagnostics([result.diagnostics for result in comparison.results[arm]])
        for arm in comparison.arms
        if all(result.diagnostics for result in comparison.results[arm])
    }
    return {arm: found for arm, found in pooled.items() if found}


def _shown_arms(comparison: Comparison) -> list[str]:
    """The arms whose confusion matrices are shown: the best one and the reference."""
    others = [arm for arm in comparison.arms if arm != comparison.reference]
    pick = max if comparison.higher_is_better else min
    return [*([pick(others, key=comparison.mean)] if others else []), comparison.reference]


def _forests(comparison: Comparison) -> list[Document]:
    found = [{"title": "Each seed, and the mean with its 95% interval", "chart": charts.seeds_chart(comparison)}]
    if len(comparison.arms) > 1:
        title = f"Difference to {comparison.reference}, seed by seed"
        found.append({"title": title, "chart": charts.differences_chart(comparison)})
    return found


def _arm_curves(comparison: Comparison, curves: Mapping[str, Sequence[charts.History]]) -> list[Document]:
    colours = charts.arm_colours(comparison)
    compared = {arm: curves[arm] for arm in comparison.arms if arm in curves}
    wanted = [
        ("On the validation examples", f"eval/{comparison.metric}", phrases.heading(comparison.metric), False),
        ("Training loss", "loss/total", "loss", True),
    ]
    found = [
        {"title": title, "chart": charts.arms_curve(key, compared, colours, axis, log=log)}
        for title, key, axis, log in wanted
    ]
    return [one for one in found if one["chart"]]


def _run_curves(history: charts.History) -> list[Document]:
    keys = list(dict.fromkeys(key for record in history for key in record))
    watched = [key for key in keys if key.startswith("watched/")]
    losses = [key for key in keys if key.startswith("loss/")]
    rates = [key for key in _PERCENTAGES if key in keys]
    others = [key for key in keys if key.startswith("eval/") and key not in (*_PERCENTAGES, "eval/ece")]
    wanted: list[tuple[str, list[str], str, bool]] = [
        ("Training loss", losses, "loss", True),
        ("On the validation examples", rates, phrases.heading(rates[0]) if len(rates) == 1 else "%", False),
        *((f"Validation: {wording.name_of(key)}", [key], phrases.heading(key), False) for key in others[:2]),
        *((f"Training: {wording.name_of(key)}", [key], phrases.heading(key), False) for key in watched),
        ("Norm of the gradient", ["grad_norm"], "norm", True),
        ("Learning rate", ["lr"], "learning rate", False),
    ]
    found = [
        {"title": title, "chart": charts.run_curve(names, history, axis, log=log)} for title, names, axis, log in wanted
    ]
    return [one for one in found if one["chart"]]


def _answers(found: Mapping[str, sections.Diagnostics], shown: Sequence[str], colours: Mapping[str, str]) -> Document:
    """The page's sections on predictions: calibration, confusion, and predicted against actual values."""
    bins = {arm: one["reliability"] for arm, one in found.items() if one.get("reliability")}
    pairs = {arm: found[arm] for arm in reversed(shown) if found.get(arm, {}).get("actual")}
    tables = [sections.confusion_table(arm, found.get(arm, {})) for arm in shown]
    return {
        "calibration": charts.calibration_chart(bins, colours) if bins else None,
        "scatter": charts.scatter_chart(pairs, colours) if pairs else None,
        "confusions": [table for table in tables if table],
        "said": found[_ONE].get("answers", []) if _ONE in found else [],
    }


def _final_figures(result: Values) -> dict[str, float]:
    figures = result.get("metrics") or result.get("best") or {}
    return {k: v for k, v in figures.items() if isinstance(v, int | float) and k != "step"}


def _beside_teacher(result: Values) -> Document | None:
    """The metrics of student, teacher and a constant answer in one table; None without the last two."""
    student = _final_figures(result)
    teacher = "teacher" if result.get("teacher_seen", 0) == 0 else "teacher*"
    others = {teacher: result.get("teacher") or {}, "constant answer": result.get("constant") or {}}
    found = {name: figures for name, figures in others.items() if set(student) & set(figures)}
    return sections.figures_table({"student": student, **found}) if found else None


def _teacher_note(result: Values) -> list[str]:
    """A sentence on the student's agreement with its teacher, if that is known."""
    found = result.get("teacher") or {}
    if "teacher_agreement" not in found:
        return []
    said = f"The student agrees with the teacher on {100 * found['teacher_agreement']:.1f}% of the test examples"
    far = f"; its divergence from the teacher is {found['teacher_kl']:.3g} nats" if "teacher_kl" in found else ""
    return [f"{said}{far}."]


def _committee_note(found: Values) -> str:
    """What the figures of a committee's members mean."""
    if not found:
        return ""
    metric, figure = phrases.heading(found["metric"]), wording.figure(found["metric"], found["committee"])
    words = f"On {found['rows']} validation rows, where the committee has {figure} ({metric}). "
    if "conflict" in found:
        words += (
            f"Its members name different classes in {found['disagreement']:.1%} of them; their Jensen-Shannon "
            f"divergence is {found['conflict']:.3f} of the largest possible. A share is the member's in the "
            "probability of the committee's answers. "
        )
    return f"{words}The worth of a member is what the committee's figure loses without it."


def _run_costs(result: Values) -> Document:
    """The cost of teaching the student, and of training the teacher if that was done here."""
    costs, teacher = {"the student": result.get("cost") or {}}, result.get("teacher_cost") or {}
    return sections.costs_table({**costs, "the teacher": teacher} if any(teacher.values()) else costs)


def _tiles(figures: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Name, value and unit of each final metric."""
    return [(wording.name_of(k), wording.figure(k, value), wording.unit_of(k)) for k, value in figures.items()]


def _run_words(config: Values, result: Values) -> tuple[str, str]:
    """The result of a run in a sentence, and how it ended."""
    figures, method = _final_figures(result), sections.find_value(config, "method") or "The run"
    steps = (result.get("cost") or {}).get("steps") or result.get("steps")
    after = f" after {wording.number(steps, 0)} steps" if steps else ""
    lead = str(result.get("reason") or "")
    if not figures:
        return f"{method} has no final figures{after}.", lead or "The run has not ended, or nothing evaluated it."
    usual = next(iter(figures))
    metric = next((key for key in (usual, "accuracy", "r2") if key in figures and key in HEADLINES), usual)
    unit = "%" if wording.is_percent(metric) else f" {wording.unit_of(metric)}".rstrip()
    where = "test" if result.get("metrics") else "validation"
    value = f"{wording.figure(metric, figures[metric])}{unit} {wording.name_of(metric)}"
    return f"{method} reaches {value} on the {where} examples{after}.", lead


def _first_sentence(words: str) -> tuple[str, str]:
    first, dot, rest = words.partition(". ")
    return (first + "." if dot else first), rest


def _write(path: str | Path, page: Values) -> Path:
    """Fill in the template."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_template().render(page), encoding="utf-8")
    return path


@cache
def _template() -> Any:
    """The page of every report, compiled once, which takes longer than to fill it in."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingExtraError("jinja2", "report", "A report") from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["breakable"] = _breakable
    environment.globals |= {"students": None, "tradeoffs": [], "committee": None, "views": None}
    return environment.from_string(files("didact.evaluation").joinpath("report.html").read_text(encoding="utf-8"))


def _breakable(name: str) -> Any:
    """A name that may be wrapped after an underscore, a comma or an equals sign."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(map(escape, re.split(r"(?<=[_,=])", name)))
