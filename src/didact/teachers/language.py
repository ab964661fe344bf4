"""Language models as teachers, and as the reference that a learner is held to."""

import copy
from typing import Any

from didact.teachers.base import BaseTeacher
from didact.teachers.frozen import FrozenTeacher
from didact.types import Batch, LanguageLearner, States


class LanguageTeacher(FrozenTeacher):
    """A causal language model that says how likely each next token is.

    It has no `state_dict`, so that checkpoints leave it out. The model given is frozen itself, not a copy of it.

    Args:
        learner: `learner(batch) -> TokenOutput`, an `nn.Module`.
        view: name of the view of the batch that it reads, where the batch has that view.
    """

    kind = "a language model"
    tap, candidates = BaseTeacher.tap, BaseTeacher.candidates

    def __init__(self, learner: Any, *, view: str | None = None) -> None:
        super().__init__(learner, view=view)

    def signal(self, batch: Batch) -> States:
        """Answer a batch of sequences.

        Returns:
            Its states [B, T, D], without a gradient, and its head.
        """
        signal = super().signal(batch)
        assert isinstance(signal, States)
        return signal


def snapshot(learner: LanguageLearner) -> LanguageTeacher:
    """A frozen copy of a learner as it is now: the reference of methods that punish a departure from it."""
    return LanguageTeacher(copy.deepcopy(learner))
