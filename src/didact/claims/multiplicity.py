"""What many verdicts together are worth. It imports neither torch nor numpy."""

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from didact.catalogue import MethodInfo
from didact.claims.store import ResultStore
from didact.documents import Document, Values

LEVEL = 0.05


def p_values(infos: Sequence[MethodInfo], store: ResultStore) -> dict[str, float]:
    """By method with a stored result, the two-sided p-value of no effect against the baseline.

    Those of the first design are of the paired t test, which its intervals are of.
    """
    found = {info.name: store.read(info.name) for info in infos if info.claim is not None}
    return {name: _p_value(result) for name, result in found.items() if result is not None}


def corrected(infos: Sequence[MethodInfo], store: ResultStore) -> dict[str, Document]:
    """By method with a stored result: `p`, and the p-values of `holm` and `benjamini_hochberg` for all of them."""
    return correct(p_values(infos, store))


def correct(p: Mapping[str, float]) -> dict[str, Document]:
    """By name, `p` beside the p-values of Holm, `holm`, and of Benjamini and Hochberg, `benjamini_hochberg`."""
    raw = [*p.values()]
    rows = zip(p, raw, holm(raw), benjamini_hochberg(raw), strict=True)
    return {name: {"p": q, "holm": strict, "benjamini_hochberg": loose} for name, q, strict, loose in rows}


def sentence(found: Mapping[str, Values]) -> str:
    """How many verdicts would come by chance, and how many remain after a correction.

    Args:
        found: see `correct`.
    """
    left = [sum(one[name] < LEVEL for one in found.values()) for name in ("p", "holm", "benjamini_hochberg")]
    return (
        f"{left[0]} of {len(found)} intervals exclude zero, as {LEVEL * len(found):.0f} would by chance if no method "
        f"had an effect; {left[1]} remain after Holm's correction, {left[2]} after that of Benjamini and Hochberg."
    )


def _p_value(found: Values) -> float:
    kept = found.get("verdicts", {}).get("baseline", {}).get("p")
    if kept is not None:
        return float(kept)
    claim = found["claim"]
    rows = [[arms[claim[role]]["metrics"] for role in ("method", "baseline")] for arms in found["seeds"].values()]
    apart = [float(mine[claim["metric"]]) - float(theirs[claim["metric"]]) for mine, theirs in rows]
    return paired_p(apart)


def paired_p(differences: Sequence[float]) -> float:
    """The two-sided p-value of the paired t test; 1 for differences of zero, 0 for others without a spread.

    For a whole number of degrees of freedom, the t distribution is a finite sum (Abramowitz & Stegun 1964, 26.7.3).

    Args:
        differences: two or more.
    """
    freedom = len(differences) - 1
    mean, sd = statistics.fmean(differences), statistics.stdev(differences)
    if sd == 0.0:
        return float(mean == 0.0)
    angle = math.atan(abs(mean) / sd * math.sqrt(len(differences) / freedom))
    cosine, inner, odd = math.cos(angle), 0.0, freedom % 2
    power = cosine if odd else 1.0
    for k in range(1 + odd, freedom, 2):
        inner += power
        power *= cosine**2 * k / (k + 1)
    if not odd:
        return max(0.0, 1.0 - math.sin(angle) * inner)
    return max(0.0, 1.0 - 2.0 / math.pi * (angle + math.sin(angle) * inner))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm (1979), in the given order: below 0.05, no false finding in 95% of catalogues."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    scaled = (min(1.0, p_values[i] * (len(order) - rank)) for rank, i in enumerate(order))
    return _in_order(order, itertools.accumulate(scaled, max))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Benjamini and Hochberg (1995): of the findings below 0.05, 5% are expected to be false."""
    order = sorted(range(len(p_values)), key=lambda i: -p_values[i])
    scaled = (min(1.0, p_values[i] * len(order) / (len(order) - rank)) for rank, i in enumerate(order))
    return _in_order(order, itertools.accumulate(scaled, min))


def _in_order(order: Sequence[int], adjusted: Iterator[float]) -> list[float]:
    return [value for _, value in sorted(zip(order, adjusted, strict=True))]
