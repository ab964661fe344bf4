"""Shared helper of the verifiers: words after the kind, such as those of `python:share:weak`."""

from collections.abc import Sequence

from didact.errors import nearest
from didact.parts.kinds import Spec


def words_of(spec: Spec, known: Sequence[str]) -> list[str]:
    """The words after a kind.

    Raises:
        ConfigError: One of them is unknown; the message suggests the nearest.
    """
    words = [word.strip() for word in spec.argument.split(":") if spec.argument]
    for word in words:
        if word not in known:
            raise spec.error(f"{spec.kind} has no option {word!r}. {nearest(word, known)}")
    return words
