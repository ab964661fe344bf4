"""What many verdicts together are worth. It imports neither torch nor numpy."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from didact.catalogue import MethodInfo
from didact.claims.store import ResultStore
from didact.documents import Document, Values

LEVEL = 0.05


def p_values(infos: Sequence[MethodInfo], store: ResultStore) -> dict[str, float]:
    """By method with a stored result that decides, the two-sided p-value of no effect against the baseline."""
    found = {info.name: store.read(info.name) or {} for info in infos if info.claim is not None}
    return {name: float(one["verdicts"]["baseline"]["p"]) for name, one in found.items() if _decides(one)}


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
    if not found:
        return "No claim is decided yet."
    left = [sum(one[name] < LEVEL for one in found.values()) for name in ("p", "holm", "benjamini_hochberg")]
    return (
        f"{left[0]} of {len(found)} intervals exclude zero, as {LEVEL * len(found):.2g} would by chance if no method "
        f"had an effect; {left[1]} remain after Holm's correction, {left[2]} after that of Benjamini and Hochberg."
    )


def _decides(found: Values) -> bool:
    """Whether a result is there, has a p-value, and is not of the first design, whose intervals decide nothing."""
    return "first_verdict" not in found and found.get("verdicts", {}).get("baseline", {}).get("p") is not None


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
