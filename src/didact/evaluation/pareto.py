"""Which of several things no other one beats in everything."""

from collections.abc import Sequence


def pareto_set(points: Sequence[Sequence[float]]) -> list[int]:
    """The points that no other dominates: that is nowhere larger, and somewhere smaller.

    Args:
        points: of one length each; less is better. Equal points do not dominate each other.

    Returns:
        Their numbers, in order.
    """
    order = sorted(range(len(points)), key=lambda number: tuple(points[number]))
    kept: list[int] = []
    # Nothing after a point in the order can dominate it.
    for number in order:
        if not any(_dominates(points[other], points[number]) for other in kept):
            kept.append(number)
    return sorted(kept)


def _dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
