"""The floor of a claim: how far the method's figure moves if it alone is run again, in another order.

An effect below it may well be real, since it is a mean over many seeds; but who runs the method once, in an order of
their own, cannot see it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from didact import hashing
from didact.claiming import Claim
from didact.claims.tuning import stated
from didact.documents import Document, Values
from didact.evaluation import phrases, wording
from didact.experiment.arms import Arm

SEEDS = 3
"""The number of seeds that are run again: the first ones."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The method's figures in two orders of the same examples, with all else the same."""

    metric: str
    arm: str
    seeds: tuple[int, ...]
    first: tuple[float, ...]
    again: tuple[float, ...]

    @property
    def rms(self) -> float:
        """The root mean square of the differences."""
        return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(self.first, self.again, strict=True)) / len(self.seeds))

    def as_dict(self) -> Document:
        """The floor for JSON, with its `sentence`."""
        figures = {"first": list(self.first), "again": list(self.again)}
        return {"arm": self.arm, "seeds": list(self.seeds), **figures, "rms": self.rms, "sentence": self.sentence()}

    def sentence(self) -> str:
        """The floor in words."""
        unit = "points" if wording.is_percent(self.metric) else phrases.heading(self.metric)
        return (
            f"{self.arm} run again in another order moves by {wording.figure(self.metric, self.rms)} {unit} (root mean "
            f"square over {len(self.seeds)} seeds)."
        )


def name_of(claim: Claim) -> str:
    """The name of the arm that is the method, run again."""
    return f"{claim.method}, again"


def arms(claim: Claim, given: Mapping[str, Arm], seed: int, seeds: Sequence[int]) -> dict[str, Arm]:
    """The arms that run with a seed: with the first ones, the method runs twice.

    Args:
        claim: the claim.
        given: its arms with their settings.
        seed: one of `seeds`.
        seeds: all seeds of the report.
    """
    if seed not in seeds[:SEEDS]:
        return dict(given)
    order = {"order_seed": hashing.stream(seed, "another order")}
    return {**given, name_of(claim): {**stated(given[claim.method]), **order}}


def floor(claim: Claim, kept: Mapping[int, Values]) -> Floor:
    """The floor from finished seeds.

    Args:
        claim: the claim.
        kept: by seed, the results of its arms; those of the method, run again, with the first seeds.
    """
    seeds = tuple(kept)[:SEEDS]
    first, again = (
        tuple(float(kept[seed][arm]["metrics"][claim.metric]) for seed in seeds)
        for arm in (claim.method, name_of(claim))
    )
    return Floor(claim.metric, claim.method, seeds, first, again)
