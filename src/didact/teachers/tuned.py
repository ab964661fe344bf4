"""A teacher that is fine-tuned before it teaches."""

import copy
from typing import Any

from torch import Tensor

from didact.errors import TeacherError
from didact.teachers.base import ModelTeacher, reorder
from didact.teachers.specialists import unwrap
from didact.types import Batch


class TunedTeacher(ModelTeacher):
    """A copy of a frozen model that can be fine-tuned; the model itself is not changed.

    It has no state of its own; the run keeps the learner's.

    Args:
        teacher: a frozen model, also behind a cache.

    Raises:
        TeacherError: the teacher holds no trainable model.
    """

    kind = "a teacher that goes on learning"
    frozen = False

    def __init__(self, teacher: Any) -> None:
        inside = unwrap(teacher)
        if not isinstance(inside, ModelTeacher):
            raise TeacherError(
                f"The teacher is {getattr(inside, 'kind', type(inside).__name__)}, which cannot be trained further; "
                "this method needs a model: a spec such as mlp:256,256, the directory of a run, hf:DIR, or an "
                "nn.Module."
            )
        super().__init__(copy.deepcopy(inside.learner).requires_grad_(True), view=inside.view, order=inside._order)
        self.original = inside
        """The original teacher."""

    def reset(self) -> None:
        """Copy the weights of the original, which may have been trained since this copy was made."""
        self.learner.load_state_dict(self.original.learner.state_dict())

    def logits(self, batch: Batch) -> Tensor:
        """Logits float [B, C] in the data's class order, with gradients."""
        seen = self._look(batch)
        self.count(seen)
        return reorder(self.learner(seen).logits, self._order)

    def to(self, device: Any) -> "TunedTeacher":
        """Move the copy and the original, in place."""
        self.original.to(device)
        return super().to(device)
