"""Second tries: a question, a first answer to it, and words that ask for another.

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
    """The question without an attempt that its prompt holds: its data's `first` is the prompt then.

    Args:
        question: any; one whose data have no `first` comes back as it is.
    """
    first = question.data.get("first")
    return question if first is None else dataclasses.replace(question, prompt=first)


def retry_questions(questions: Sequence[Question], texts: Sequence[str], words: str) -> tuple[Question, ...]:
    """Questions that hold an answer, and ask for another.

    Args:
        questions: B of them.
        texts: what was answered to each.
        words: that ask for another answer; in a conversation they are the next turn, else they follow the answer.

    Returns:
        The questions, each with an id of its own, by which further answers to the same question are drawn apart.
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
    """Write answers, and to each another one.

    Args:
        writer: writes and verifies.
        questions: at least one; attempts that they hold are left out.
        words: see `retry_questions`.

    Returns:
        The first answers, and the second ones in the same order, with the `id` and `group` of their questions.
    """
    first = writer.write([strip_attempt(question) for question in questions])
    again = retry_questions(first.questions, first.texts, words)
    second = writer.write(again, samples=1, turn=1, verify=False)
    same = {name: first.batch[name] for name in ("id", "group")}
    return first, writer.verify(Rollouts(Batch({**second.batch, **same}), second.texts, first.questions))
