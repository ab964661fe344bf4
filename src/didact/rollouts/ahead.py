"""Completions of the next round, sampled in a thread of their own while the student learns."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from typing import Any

from didact.documents import State
from didact.rollouts.completions import Completions

Key = tuple[int, tuple[int, ...]]
"""The visit, and the ids of the prompts."""


class Ahead:
    """At most one round of completions that is being sampled, or waits to be learned from; `Stateful`.

    Its state has the completions, for which it waits: a run that is resumed learns from the same ones, though the
    weights that sampled them are gone.

    Args:
        tokenizer: of the completions.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.key: Key | None = None
        self.version = 0
        """The version of the weights that sample them."""
        self._found: Future[Completions] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def begin(self, key: Key, version: int, sample: Callable[[], Completions]) -> None:
        """Begin to sample.

        Args:
            key: what is asked for.
            version: the version of the weights.
            sample: called in the thread.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "didact-rollouts")
        self.key, self.version, self._found = key, version, self._thread.submit(sample)

    def take(self, key: Key) -> tuple[Completions, int] | None:
        """The completions that were begun, and the version of their weights; None if others were, or none.

        Raises:
            DidactError: sampling failed.
        """
        if key != self.key or self._found is None:
            return None
        found, self.key, self._found = self._found.result(), None, None
        return found, self.version

    def state_dict(self) -> State:
        """The completions that wait, if there are any."""
        if self._found is None or self.key is None:
            return {}
        found = self._found.result()
        kept = {one.name: getattr(found, one.name) for one in fields(found) if one.name != "tokenizer"}
        return {"visit": self.key[0], "ids": list(self.key[1]), "version": self.version, "found": kept}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        self.key, self._found = None, None
        if state:
            self.key, self.version, self._found = (state["visit"], tuple(state["ids"])), state["version"], Future()
            self._found.set_result(Completions(**state["found"], tokenizer=self.tokenizer))
