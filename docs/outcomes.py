"""What came of a method's claim, as the last paragraph of its docstring; `make verdicts` writes it from the store."""

import re
import textwrap
from collections.abc import Mapping

from didact import catalogue
from didact.claims.store import SHIPPED, ResultStore
from didact.documents import Values
from didact.evaluation.wording import MINUS, figure, is_percent, name_of, unit_of

_BEFORE = re.compile(r"\n\nOn [^\n]+?, it\s+is\s(?:(?!\n\n).)*\Z", re.DOTALL)
"""The paragraph that stands there already."""
LITTLE = 0.1
"""A difference in cost that is not worth a word."""
_OTHERS = ("baseline", "cheap", "ablation")


def outcome(found: Values) -> str:
    """A stored result in one sentence: where it was measured, and each verdict with its difference and interval.

    Args:
        found: the result of a claim that was decided.
    """
    claim, verdicts = found["claim"], found["verdicts"]
    labels = claim["settings"].get("labels")
    where = f"On `{claim['world']}`" + (f" with {labels} labels" if labels else "")
    shown: dict[str, str] = {}
    for role in _OTHERS:
        # One arm may stand for two, and an ablation may be the baseline under another name.
        one = verdicts[role]
        alike = (one["effect"], *one["interval"])
        if one["arm"] not in shown and alike not in [(v["effect"], *v["interval"]) for v in map(verdicts.get, shown)]:
            shown[role] = _clause(claim, one, role, first=not shown)
    *clauses, last = shown.values()
    said = f"{where}, it is " + (f"{', '.join(clauses)}, and {last}" if clauses else last)
    return f"{said}{_doubts(verdicts['baseline'])}.{_price(found)}".replace(MINUS, "-")


def _doubts(verdict: Values) -> str:
    """What to think of the first verdict, where the store says something."""
    if verdict["verdict"] == "undecided":
        return "".join(f"; {mark[0].lower()}{mark[1:].removesuffix('.')}" for mark in verdict["marks"])
    shaky = verdict["verdict"] in ("better", "worse") and verdict.get("caveats")
    return "; a single run does not show that" if shaky else ""


def _price(found: Values) -> str:
    """The operations of training, where they differ from the baseline's by a tenth."""
    arms, claim = found["cost"]["arms"], found["claim"]
    spent, beside = (arms[arm].get("flops", 0.0) for arm in (claim["method"], claim["baseline"]))
    if not spent or not beside or abs(spent / beside - 1.0) < LITTLE:
        return ""
    times = spent / beside
    return f" Training takes {times:.{1 if times < 10 else 0}f} times the operations of the baseline."


def _clause(claim: Values, verdict: Values, role: str, *, first: bool) -> str:
    """Such as "better than a tuned `distill` by 1.2 points (0.3 to 2.1)"; only the first names the unit."""
    arm, word, metric = verdict["arm"], verdict["verdict"], claim["metric"]
    who = ("a tuned " if role == "baseline" and arm in claim["search"] else "") + _named(claim, arm, role)
    sizes = [verdict["effect"], *verdict["interval"]]
    unit = f" {_unit(metric)}" if first else ""
    if word in ("better", "worse"):
        size, low, high = map(abs, sizes)
        low, high = sorted((low, high))
        size, low, high = (figure(metric, one, like=high - low) for one in (size, low, high))
        return f"{word} than {who} by {size}{unit} ({low} to {high})"
    size, low, high = (figure(metric, one, like=sizes[2] - sizes[1], sign=True) for one in sizes)
    return f"{'equivalent to' if word == 'equivalent' else 'undecided against'} {who} ({size}{unit}, {low} to {high})"


def _named(claim: Values, arm: str, role: str) -> str:
    if role == "ablation":
        return f'itself without its mechanism ("{arm}")'
    settings = claim["arms"][arm]
    method = settings if isinstance(settings, str) else settings.get("method")
    return f"`{arm}`" if method == arm else f'"{arm}"'


def _unit(metric: str) -> str:
    if metric == "accuracy":
        return "points"
    return f"points of {name_of(metric)}" if is_percent(metric) else unit_of(metric) or f"of {name_of(metric)}"


def with_outcome(docstring: str, found: Values | None) -> str:
    """A docstring with the paragraph that the stored result gives it; none where there is no decided result."""
    bare = _BEFORE.sub("", docstring.rstrip())
    if not found or "verdicts" not in found or "first_verdict" in found:
        return f"{bare}\n"
    said = textwrap.fill(outcome(found), 120, break_long_words=False, break_on_hyphens=False)
    return f"{bare}\n\n{said}\n"


def docstrings(store: ResultStore) -> Mapping[str, tuple[str, str]]:
    """Of each method's file that says another outcome than the store: its text as it is, and as it should be."""
    changed = {}
    for info in catalogue.listing():
        text = info.path.read_text(encoding="utf-8")
        head, quotes, rest = text.removeprefix('"""').partition('"""')
        wanted = f'"""{with_outcome(head, store.read(info.name))}{quotes}{rest}'
        if wanted != text:
            changed[str(info.path)] = (text, wanted)
    return changed


if __name__ == "__main__":
    from pathlib import Path

    for path, (_, wanted) in docstrings(ResultStore(SHIPPED)).items():
        Path(path).write_text(wanted, encoding="utf-8")
