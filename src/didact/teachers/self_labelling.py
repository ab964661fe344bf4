"""Students that are their own teachers: their answers to weak views are labels of strong ones."""

import torch
from torch import Tensor

from didact.teachers.ema import AveragingMethod
from didact.types import Batch, is_labelled


class SelfLabellingMethod(AveragingMethod):
    """A method that learns its own answers to weak views on strong views, as FixMatch does; its average is delivered.

    A concrete method says in `admit` which answers it learns, and needs the views `weak` and `strong`.
    """

    def admit(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The classes of answers [B, C], int64 [B], and their weights, float [B] in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must say which answers it learns: implement `admit`.")

    @torch.no_grad()
    def own_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What it teaches itself of a batch: classes, int64 [B], and their weights, float [B]."""
        return self.admit(self.learner(batch).logits)

    @torch.no_grad()
    def weak_logits(self, batch: Batch) -> Tensor:
        """The student's answers to the weak views of unlabelled examples, float [B, C]; zeros for labelled ones.

        Only these are shown to the student, as in USB without `use_cat`: in batch normalisation they have statistics of
        their own, which move the running ones. A single example has none, so that with fewer than two all are shown.
        """
        shown, positions = batch.only(~is_labelled(batch["label"]), "weak")
        if len(positions) < 2:
            return self.learner(batch.view("weak")).logits
        logits = self.learner(shown).logits
        return logits.new_zeros(len(batch["label"]), logits.shape[-1]).index_copy_(0, positions, logits)

    def strong_logits(self, batch: Batch) -> Tensor:
        """Its answers to the strong views of unlabelled examples and the weak views of labelled ones, float [B, C]."""
        return self.learner(batch.either(is_labelled(batch["label"]), "weak", "strong")).logits
