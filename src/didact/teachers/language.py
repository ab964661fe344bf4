"""Language models as teachers, and as the reference that a learner is held to."""

import copy
from typing import Any, Self

import torch
from torch import nn

from didact.teachers.base import BaseTeacher
from didact.types import Batch, LanguageLearner, States


class LanguageTeacher(BaseTeacher):
    """A causal language model that says how likely each next token is.

    It has no `state_dict`, so that checkpoints leave it out. The model given is frozen itself, not a copy of it.

    Args:
        learner: `learner(batch) -> TokenOutput`, an `nn.Module`.
        view: name of the view of the batch that it reads, where the batch has that view.
    """

    kind = "a language model"

    def __init__(self, learner: Any, *, view: str | None = None) -> None:
        super().__init__(view=view)
        self.learner: nn.Module = learner
        learner.eval()
        learner.requires_grad_(False)

    def signal(self, batch: Batch) -> States:
        """Answer a batch of sequences.

        Returns:
            Its states [B, T, D], without a gradient, and its head.
        """
        seen = self._look(batch)
        with torch.no_grad():
            output = self.learner(self._known(seen))
        self._count(seen)
        return States(hidden=output.hidden, head=output.head)

    def _known(self, batch: Batch) -> Batch:
        """Without token ids that it has not, which a learner that scores more may say; they are read as padding."""
        head, tokenizer = getattr(self.learner, "head", None), getattr(self.learner, "tokenizer", None)
        if head is None or tokenizer is None:
            return batch
        ids = batch["input_ids"]
        return Batch({**batch, "input_ids": ids.where(ids < head.vocabulary, tokenizer.pad)})

    def to(self, device: torch.device | str) -> Self:
        """Move the model, in place."""
        self.learner.to(device)
        return self


def snapshot(learner: LanguageLearner) -> LanguageTeacher:
    """A frozen copy of a learner as it is now: the reference of methods that punish a departure from it."""
    return LanguageTeacher(copy.deepcopy(learner))
