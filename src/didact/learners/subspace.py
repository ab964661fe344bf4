"""Compact parts of the space of smaller transformers inside a large one."""

import itertools

import torch

from didact.documents import State
from didact.errors import ConfigError, check_range
from didact.learners.supernet import SubnetSize, Supernet


class SubSpace:
    """Nets of similar sizes inside a supernet, of which one within a limit of cost is chosen in the end.

    It is the last sub-space of a `partition` of which a net is within the limit.

    Args:
        supernet: what the nets are parts of.
        levels: see `partition`; likewise `parts`.
        parts: see `levels`.
        limit: the largest `Supernet.cost_share` that a net may have to be chosen, in (0, 1].

    Raises:
        ConfigError: numbers out of range, or no net is within the limit.
    """

    def __init__(self, supernet: Supernet, *, levels: int, parts: int, limit: float) -> None:
        check_range("max_cost", limit, above=0.0, at_most=1.0)
        spaces = partition(supernet.largest, levels, parts)
        least = [min(map(supernet.cost_share, space)) for space in spaces]
        if min(least) > limit:
            raise ConfigError(
                f"max_cost is {limit:g}, but the smallest net takes {min(least):.3g} of the student's cost; allow "
                "that, or give more levels."
            )
        self.supernet = supernet
        space = spaces[max(at for at, share in enumerate(least) if share <= limit)]
        self.sizes = tuple(sorted(space, key=supernet.cost_share))
        """All nets, from the cheapest to the dearest; those beyond the limit are not chosen, but learn too."""
        self.affordable = tuple(size for size in self.sizes if supernet.cost_share(size) <= limit)
        self.chosen: SubnetSize | None = None

    def sample(self, count: int) -> list[SubnetSize]:
        """The cheapest net, the dearest, and up to `count` others, drawn by the global generator."""
        between = self.sizes[1:-1]
        others = torch.randperm(len(between))[:count].tolist()
        return [*dict.fromkeys((self.sizes[0], self.sizes[-1])), *(between[at] for at in others)]

    def state_dict(self) -> State:
        """The net that was chosen: depth, heads and units, or None."""
        one = self.chosen
        return {"chosen": None if one is None else [one.depth, one.heads, one.units]}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        self.chosen = None if state["chosen"] is None else SubnetSize(*state["chosen"])


def partition(largest: SubnetSize, levels: int, parts: int) -> tuple[tuple[SubnetSize, ...], ...]:
    """Part the space of smaller transformers into compact sub-spaces, which share no level along any axis.

    Along each axis there are `levels` sizes, from a share of 1 / levels to all; the first sub-space has the smallest of
    them along every axis, the next one the next, and so on (Xu et al. 2022, AutoDistil).

    Args:
        largest: the sizes at the last level.
        levels: how many, at least 1.
        parts: how many sub-spaces, from 1 to `levels`; 1 is all combinations.

    Returns:
        For each sub-space its sizes, from the smallest depth on; where an axis is shorter than `levels`, some are in
        two of them.

    Raises:
        ConfigError: numbers out of range.
    """
    check_range("levels", levels, at_least=1)
    check_range("subspaces", parts, at_least=1, at_most=levels)
    spaces: list[tuple[SubnetSize, ...]] = []
    for part in range(parts):
        chosen = range(part * levels // parts + 1, (part + 1) * levels // parts + 1)
        axes = [
            sorted({max(1, round(whole * level / levels)) for level in chosen})
            for whole in (largest.depth, largest.heads, largest.units)
        ]
        spaces.append(tuple(SubnetSize(*sizes) for sizes in itertools.product(*axes)))
    return tuple(spaces)
