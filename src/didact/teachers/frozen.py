"""A frozen model as a teacher."""

from typing import Any

from torch import Tensor

from didact.teachers.base import ModelTeacher


class FrozenTeacher(ModelTeacher):
    """A learner with frozen parameters, always in evaluation mode.

    It has no `state_dict`, so that checkpoints do not include it. The given learner itself is frozen, not a copy.

    Args:
        learner: a `Learner` that is an `nn.Module`.
        view: name of the view of the batch that it reads, where the batch has that view.
        order: int64 [C], from `align(own_classes, data_classes)`; None where both have the same order.

    Raises:
        TeacherError: `order` is not a permutation.
    """

    kind = "a frozen model"

    def __init__(self, learner: Any, *, view: str | None = None, order: Tensor | None = None) -> None:
        super().__init__(learner, view=view, order=order)
        learner.eval()
        learner.requires_grad_(False)
