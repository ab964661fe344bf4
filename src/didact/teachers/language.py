"""Language models as teachers, and as references."""

from typing import Any

from didact.teachers.base import BaseTeacher
from didact.teachers.frozen import FrozenTeacher
from didact.types import Batch, LanguageLearner, States
from didact.types.frozen import copy_trained


class LanguageTeacher(FrozenTeacher):
    """A causal language model that gives the distribution of each next token.

    It has no `state_dict`, so that checkpoints do not include it. The given model itself is frozen, not a copy.

    Args:
        learner: `learner(batch) -> TokenOutput`, an `nn.Module`.
        view: name of the view of the batch that it reads, where the batch has that view.
    """

    kind = "a language model"
    tap, candidates = BaseTeacher.tap, BaseTeacher.candidates

    def __init__(self, learner: Any, *, view: str | None = None) -> None:
        super().__init__(learner, view=view)

    def signal(self, batch: Batch) -> States:
        """Compute the signal for a batch of sequences.

        Returns:
            The hidden states [B, T, D], without a gradient, and the head.
        """
        signal = super().signal(batch)
        assert isinstance(signal, States)
        return signal


def snapshot(learner: LanguageLearner) -> LanguageTeacher:
    """A frozen copy of the present learner, as the reference of methods with a KL penalty.

    It shares frozen weights, such as the base of adapters, with the learner.
    """
    return LanguageTeacher(copy_trained(learner))
