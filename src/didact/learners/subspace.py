"""Compact sub-spaces of the subnets of a transformer."""

import itertools

import torch

from didact.documents import State
from didact.errors import ConfigError, check_range
from didact.learners.supernet import SubnetSize, Supernet


class SubSpace:
    """Subnets of similar sizes in a supernet, of which one within a cost limit is chosen in the end.

    It is the last sub-space of a `partition` with a subnet within the limit.

    Args:
        supernet: the supernet.
        levels: see `partition`; likewise `parts`.
        parts: see `levels`.
        limit: the largest `Supernet.cost_share` of a subnet that can be chosen, in (0, 1].

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
        """All subnets, from the cheapest to the most expensive; those beyond the limit are trained, but not chosen."""
        self.affordable = tuple(size for size in self.sizes if supernet.cost_share(size) <= limit)
        self.chosen: SubnetSize | None = None

    def sample(self, count: int) -> list[SubnetSize]:
        """The cheapest subnet, the most expensive, and up to `count` others, drawn from the global generator."""
        between = self.sizes[1:-1]
        others = torch.randperm(len(between))[:count].tolist()
        return [*dict.fromkeys((self.sizes[0], self.sizes[-1])), *(between[at] for at in others)]

    def state_dict(self) -> State:
        """The chosen subnet: depth, heads and units, or None."""
        one = self.chosen
        return {"chosen": None if one is None else [one.depth, one.heads, one.units]}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        self.chosen = None if state["chosen"] is None else SubnetSize(*state["chosen"])


def partition(largest: SubnetSize, levels: int, parts: int) -> tuple[tuple[SubnetSize, ...], ...]:
    """Partition the space of subnets into compact sub-spaces, which share no level along any axis.

    Along each axis there are `levels` sizes, from a share of 1 / levels to all. The first sub-space has the smallest of
    them along every axis, the second the next larger ones, and so on (Xu et al. 2022, AutoDistil).

    Args:
        largest: the sizes at the last level.
        levels: the number of sizes, at least 1.
        parts: the number of sub-spaces, from 1 to `levels`; 1 is all combinations.

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
