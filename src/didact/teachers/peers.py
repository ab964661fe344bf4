"""A learner in training as a teacher."""

from typing import Any

from didact.teachers.base import ModelTeacher


class PeerTeacher(ModelTeacher):
    """Another learner of the same run in its present state; its signals carry no gradient.

    It uses the learner's present mode: in training mode dropout is active, and batch statistics count the batch again.
    It has no state of its own; the run keeps the learner's.

    Args:
        learner: a `Learner`, which is not changed.
        view: name of the view of the batch that it reads, where the batch has that view.
    """

    kind = "a peer"
    frozen = False

    def __init__(self, learner: Any, *, view: str | None = None) -> None:
        super().__init__(learner, view=view)
