"""The steps of a completion: where they end, in characters and in tokens."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

from didact.errors import DataError


class Decoder(Protocol):
    """What a tokenizer must be able to do here."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids."""
        ...


def step_ends(text: str, separator: str = "\n") -> list[int]:
    """Where the steps of a text end that a separator divides.

    Args:
        text: a completion.
        separator: what stands behind each step; it belongs to the step, as do blank ones that follow.

    Returns:
        The number of characters up to the end of each step, ascending; the last one is the length of the text, and a
        blank text has none.
    """
    ends, place = list[int](), 0
    for part in text.split(separator):
        place = min(place + len(part) + len(separator), len(text))
        if ends and not part.strip():
            ends[-1] = place
        elif part.strip():
            ends.append(place)
    return ends


def token_ends(tokenizer: Decoder, ids: Sequence[int], text: str, ends: Sequence[int]) -> list[int]:
    """The positions of the tokens with which the steps of a completion end.

    Args:
        tokenizer: of the ids.
        ids: of the completion, in whatever way a model or a tokenizer divided it.
        text: what they say; what ends the completion may be left out.
        ends: the number of characters up to the end of each step.

    Returns:
        For each step the position of its last token. A step that ends with the text ends with the last of all, which
        ends the completion.

    Raises:
        DataError: the ids say something else.
    """
    counts = range(1, len(ids) + 1)

    def place(end: int) -> int:
        if end >= len(text):
            return len(ids) - 1
        found = bisect_left(counts, True, key=lambda n: tokenizer.decode(ids[:n])[:end] == text[:end])
        if found == len(ids):
            raise DataError(
                f"The tokens of the completion {text[:60]!r} read {tokenizer.decode(ids)[:60]!r}, so that its steps "
                "cannot be found among them; use a model whose tokenizer and chat template keep completions as they "
                "are."
            )
        return found

    return [place(end) for end in ends]
