"""Acquisition functions by name, on what a student makes of a pool."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from didact.curricula.acquisition.covering import Chosen, check_count, k_center, typicality
from didact.curricula.acquisition.gradients import badge
from didact.curricula.acquisition.sampling import leverage, minimax
from didact.curricula.acquisition.uncertainty import bald, disagreement, entropy, least_confidence, margin
from didact.errors import ConfigError

Ask = Literal[
    "random",
    "entropy",
    "margin",
    "least_confidence",
    "bald",
    "kcenter",
    "badge",
    "typicality",
    "probability_kcenter",
    "minimax",
    "average_disagreement",
    "leverage",
]
"""What is asked for next."""
FOR_NUMBERS = ("random", "bald", "kcenter", "typicality", "leverage")
"""Those that need no classes."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a student makes of a pool of N examples."""

    logits: Tensor
    """float [N, C]."""
    hidden: Tensor | None
    """float [N, D], what its last layer is given; None where no such layer is known."""
    known: Tensor
    """bool [N], the examples that have a label, or cannot be asked for."""
    members: Tensor | None = None
    """float [M, N, C], the logits of a committee, or of draws of dropout."""
    average: Tensor | None = None
    """float [N, C], the logits of the average of the student's past."""

    def vectors(self, option: str) -> Tensor:
        """The hidden states.

        Args:
            option: what needs them, for the message.

        Raises:
            ConfigError: there are none.
        """
        if self.hidden is None:
            raise ConfigError(
                f"{option} compares what the student's last linear layer is given, but no such layer is known; ask by "
                "entropy, margin, least_confidence or probability_kcenter."
            )
        return self.hidden


def choose(ask: Ask, seen: Seen, count: int, generator: torch.Generator, wrong: float = 0.1) -> Chosen:
    """The examples to ask for next.

    Args:
        ask: the acquisition function.
        seen: what it looks at; `bald` needs `members`, `average_disagreement` needs `average`.
        count: how many, K.
        generator: where something is drawn.
        wrong: of `minimax`, the share of the oracle's answers that may be wrong.

    Returns:
        The rows, and what each was chosen for.

    Raises:
        ConfigError: more than there are, or the student has no hidden states to compare.
    """
    by_geometry: dict[str, Callable[[], Chosen]] = {
        "kcenter": lambda: k_center(seen.vectors(ask), seen.known, count),
        "probability_kcenter": lambda: k_center(seen.logits.softmax(1), seen.known, count),
        "badge": lambda: badge(seen.logits, seen.vectors(ask), seen.known, count, generator),
        "typicality": lambda: typicality(seen.vectors(ask), seen.known, count, generator),
        "minimax": lambda: minimax(seen.logits, seen.known, count, generator, wrong=wrong),
        "leverage": lambda: leverage(seen.vectors(ask), seen.known, count, generator),
    }
    if ask in by_geometry:
        return by_geometry[ask]()
    return _largest(_scores(ask, seen, generator), seen.known, count)


def _scores(ask: Ask, seen: Seen, generator: torch.Generator) -> Tensor:
    """The score of each example, float [N]; higher is asked first."""
    if ask == "random":
        return torch.rand(len(seen.known), generator=generator)
    if ask == "bald":
        assert seen.members is not None
        # The variance of numbers is what the entropies are of normal ones.
        return bald(seen.members) if seen.members.shape[2] > 1 else seen.members[:, :, 0].var(0)
    if ask == "average_disagreement":
        assert seen.average is not None
        return disagreement(seen.logits, seen.average) + entropy(seen.logits)
    by_logits = {"entropy": entropy, "margin": margin, "least_confidence": least_confidence}
    return by_logits[ask](seen.logits)


def _largest(scores: Tensor, known: Tensor, count: int) -> Chosen:
    check_count(known, count)
    found = scores.double().masked_fill(known, -torch.inf).topk(count)
    return Chosen(found.indices, found.values.float())
