"""Where two tokenizations of one text end tokens at the same byte."""

from collections.abc import Sequence
from typing import Protocol

from didact.errors import TeacherError
from didact.types import Question


class SpanTokenizer(Protocol):
    """What a tokenizer must be able to do here."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token of a text, from which byte of its UTF-8 to which it stands for."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids."""
        ...

    def completion(self, question: Question, text: str | None = None) -> list[int]:
        """The tokens of an answer, by default the question's own, with what ends it."""
        ...

    def prompt(self, question: Question) -> list[int]:
        """The tokens that a model is given."""
        ...


def find_cuts(spans: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The bytes at which a tokenization can be cut: what is before lies before, and what is behind, behind.

    Args:
        spans: of the tokens, in their order.

    Returns:
        By byte, how many tokens are before the cut. A byte within a token, or within a character that tokens share, is
        none; nor is one where the tokenizer does not say whose the bytes around it are.
    """
    first_behind = [0] * len(spans)
    least = None
    for place in range(len(spans) - 1, -1, -1):
        least = spans[place][0] if least is None else min(least, spans[place][0])
        first_behind[place] = least
    found: dict[int, int] = {}
    end = 0
    for place, span in enumerate(spans):
        end = max(end, span[1])
        if place + 1 == len(spans) or first_behind[place + 1] == end:
            found[end] = place + 1
    return found


def align_pieces(text: str, mine: SpanTokenizer, theirs: SpanTokenizer) -> tuple[list[int], list[int]]:
    """Number the pieces of a text that lie between the cuts which two tokenizers have in common.

    Args:
        text: an answer.
        mine: one tokenizer.
        theirs: the other.

    Returns:
        For each, the number of the piece that each token of `completion(text)` is in, from 1; the end of the sequence
        is a piece of its own. Both have the same pieces.

    Raises:
        TeacherError: a tokenizer changes the text, so that the two would not speak of the same.
    """
    return _aligned(Question(id=0, prompt="", completion=text), mine, theirs)


def _aligned(question: Question, mine: SpanTokenizer, theirs: SpanTokenizer) -> tuple[list[int], list[int]]:
    text = question.completion or ""
    whole, found = len(text.encode(errors="replace")), []
    for name, tokenizer in (("learner", mine), ("teacher", theirs)):
        spans, ids = tokenizer.spans(text), tokenizer.completion(question)
        read = tokenizer.decode(ids)
        if read != text or len(spans) != len(ids) - 1 or whole not in find_cuts(spans):
            raise TeacherError(
                f"The {name}'s tokenizer does not give back the text {text[:60]!r}, but {read[:60]!r}, so "
                "that the two models would not speak of the same; choose one that keeps every character."
            )
        found.append((find_cuts(spans), len(ids)))
    (own, length), (other, other_length) = found
    shared = sorted(own.keys() & other.keys())
    return _pieces([own[at] for at in shared], length), _pieces([other[at] for at in shared], other_length)


def _pieces(ends: Sequence[int], length: int) -> list[int]:
    """The number of the piece of each of `length` tokens, from how many tokens are before each cut."""
    numbers, start = [], 0
    for number, end in enumerate(ends, 1):
        numbers += [number] * (end - start)
        start = end
    return numbers + [len(ends) + 1] * (length - start)


def completion_pieces(question: Question, mine: SpanTokenizer, theirs: SpanTokenizer) -> tuple[list[int], list[int]]:
    """Number the pieces of a question's completion by two tokenizers; see `align_pieces`.

    Raises:
        TeacherError: see `align_pieces`; or the completion behind its prompt reads otherwise than alone, by a tokenizer
            that puts a space in front of every text.
    """
    text = question.completion or ""
    for name, tokenizer in (("learner", mine), ("teacher", theirs)):
        prompt, answer = tokenizer.prompt(question), tokenizer.completion(question)
        read = tokenizer.decode([*prompt, *answer])
        if read != tokenizer.decode(prompt) + text:
            raise TeacherError(
                f"By the {name}'s tokenizer, the answer {text[:60]!r} behind its prompt reads {read[-60:]!r}: what "
                "comes between the two is not in the data. Choose a tokenizer without it, or begin completions with a "
                "space."
            )
    return _aligned(question, mine, theirs)
