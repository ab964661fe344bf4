"""Construction of the questions of language worlds."""

import dataclasses
from collections.abc import Iterable

from didact import hashing
from didact.types import Question, Questions


def questions_of(items: Iterable[Question], *, name: str, verifier: str = "") -> Questions:
    """Replace the ids of questions by hashes of their prompts.

    Args:
        items: all with different prompts.
        name: of the world.
        verifier: the spec of their verifier.

    Returns:
        The questions, in their order.
    """
    known = tuple(items)
    ids = hashing.of_strings(item.prompt for item in known).tolist()
    numbered = (dataclasses.replace(item, id=number) for item, number in zip(known, ids, strict=True))
    return Questions(items=tuple(numbered), name=name, verifier=verifier)
