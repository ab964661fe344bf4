"""A finished model as a teacher."""

from typing import Any

from torch import Tensor

from didact.teachers.base import ModelTeacher


class FrozenTeacher(ModelTeacher):
    """A learner that no longer changes: in evaluation mode throughout, its parameters frozen.

    It has no `state_dict`, so that checkpoints leave it out. The learner given is frozen itself, not a copy of it.

    Args:
        learner: a `Learner` that is an `nn.Module`.
        view: name of the view of the batch that it looks at, where the batch has that view.
        order: int64 [C], from `align(own_classes, data_classes)`; None where both agree.

    Raises:
        TeacherError: `order` is no permutation.
    """

    kind = "a frozen model"

    def __init__(self, learner: Any, *, view: str | None = None, order: Tensor | None = None) -> None:
        super().__init__(learner, view=view, order=order)
        learner.eval()
        learner.requires_grad_(False)
