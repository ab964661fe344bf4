"""A learner that teaches while it learns."""

from typing import Any

from didact.teachers.base import ModelTeacher


class PeerTeacher(ModelTeacher):
    """Another learner of the same run, as it is now; its answers carry no gradient.

    It answers in whatever mode the learner is in: in training, its dropout is active and its batch statistics count
    the batch again. It has no state of its own; the run keeps the learner's.

    Args:
        learner: a `Learner`, which is left as it is.
        view: name of the view of the batch that it looks at, where the batch has that view.
    """

    kind = "a peer"
    frozen = False

    def __init__(self, learner: Any, *, view: str | None = None) -> None:
        super().__init__(learner, view=view)
