"""Two-turn rollouts: a prompt, a first completion, and a request for another.

Axis letters: B rollouts.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import torch

from didact import hashing
from didact.rollouts.layout import Rollouts
from didact.rollouts.writer import Writer
from didact.types import Batch, Question


def strip_attempt(question: Question) -> Question:
    """Remove a first attempt from a question's prompt, which then is `first` of its data.

    Args:
        question: any; one whose data have no `first` is returned unchanged.
    """
    first = question.data.get("first")
    return question if first is None else dataclasses.replace(question, prompt=first)


def retry_questions(questions: Sequence[Question], texts: Sequence[str], words: str) -> tuple[Question, ...]:
    """Append first completions and a request for another to questions.

    Args:
        questions: B of them.
        texts: the first completion of each.
        words: the request; in a conversation it is the next turn, else it follows the completion.

    Returns:
        The questions, each with an id of its own, so that second completions of the same prompt get different draws.
    """
    seen = Counter[int]()
    found, numbers = [], []
    for question, text in zip(questions, texts, strict=True):
        seen[question.id] += 1
        numbers.append(seen[question.id])
        turns = ({"role": "assistant", "content": text}, {"role": "user", "content": words.strip()})
        if question.messages:
            found.append(dataclasses.replace(question, messages=(*question.messages, *turns)))
        else:
            found.append(dataclasses.replace(question, prompt=question.prompt + text + words))
    ids = hashing.keyed_hash(torch.tensor([question.id for question in questions]), 0, "asked again")
    drawn = hashing.mix(ids + torch.tensor(numbers)).tolist()
    return tuple(dataclasses.replace(question, id=number) for question, number in zip(found, drawn, strict=True))


def write_twice(writer: Writer, questions: Sequence[Question], words: str) -> tuple[Rollouts, Rollouts]:
    """Sample completions, and a second one after each.

    Args:
        writer: writes and verifies.
        questions: at least one; first attempts in their prompts are removed.
        words: see `retry_questions`.

    Returns:
        The first completions, and the second ones in the same order, with the `id` and `group` of their questions.
    """
    first = writer.write([strip_attempt(question) for question in questions])
    again = retry_questions(first.questions, first.texts, words)
    second = writer.write(again, samples=1, turn=1, verify=False)
    same = {name: first.batch[name] for name in ("id", "group")}
    return first, writer.verify(Rollouts(Batch({**second.batch, **same}), second.texts, first.questions))
