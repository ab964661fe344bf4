"""What all teachers behind a server have in common."""

from didact.teachers.base import BaseTeacher
from didact.teachers.remote.asking import Asker
from didact.teachers.remote.config import RemoteConfig


class RemoteTeacher(BaseTeacher):
    """Abstract: a teacher behind a server. Nothing is sent before it is first asked.

    Args:
        config: the server, and the budget.
    """

    charges = frozenset({"teacher_calls", "teacher_tokens", "money"})
    priced = True
    """Whether each of its answers costs something, so that only training asks it, and no evaluation."""
    saves = True
    """Whether calls stop once everything is stored, so that a budget of calls may never end a run."""

    def __init__(self, config: RemoteConfig) -> None:
        super().__init__()
        self.asker = Asker(config, "The teacher")

    @property
    def identity(self) -> str:
        """A hash of what its answers depend on, by which a cache of them is told from another's."""
        self.connect()
        return self.asker.identity(*self._settings())

    def connect(self) -> None:
        """Find out whether the server is there, and how it is asked; asked again, it sends nothing.

        Raises:
            EngineError: it is not there, wants a key, or can't be asked.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `connect`.")

    def _settings(self) -> tuple[object, ...]:
        """What its answers depend on, besides the server and its model."""
        raise NotImplementedError(f"{type(self).__name__} must define `_settings`.")

    def remarks(self) -> list[str]:
        """What it is, what was asked and what that cost, and how often it abstained, in sentences for the report."""
        return self.asker.remarks()
