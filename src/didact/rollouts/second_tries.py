"""Asking again: a question, what was answered, and words that ask for another answer.

Axis letters: B attempts.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import torch

from didact import hashing
from didact.rollouts.collecting import Asker, Attempts
from didact.types import Batch, Question


def first_of(question: Question) -> Question:
    """The question without an attempt that its prompt holds: its data's `first` is the prompt then.

    Args:
        question: any; one whose data have no `first` comes back as it is.
    """
    first = question.data.get("first")
    return question if first is None else dataclasses.replace(question, prompt=first)


def asked_again(questions: Sequence[Question], texts: Sequence[str], words: str) -> tuple[Question, ...]:
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
    ids = hashing.keyed(torch.tensor([question.id for question in questions]), 0, "asked again")
    drawn = hashing.mix(ids + torch.tensor(numbers)).tolist()
    return tuple(dataclasses.replace(question, id=number) for question, number in zip(found, drawn, strict=True))


def tried_twice(ask: Asker, questions: Sequence[Question], words: str) -> tuple[Attempts, Attempts]:
    """Have questions answered, and each answer followed by another.

    Args:
        ask: who asks and has answers judged.
        questions: at least one; attempts that they hold are left out.
        words: see `asked_again`.

    Returns:
        The first answers, and the second ones in the same order, with the `id` and `group` of their questions.
    """
    first = ask.attempt([first_of(question) for question in questions])
    again = asked_again(first.questions, first.texts, words)
    second = ask.attempt(again, samples=1, turn=1, judged=False)
    same = {name: first.batch[name] for name in ("id", "group")}
    return first, ask.judge(Attempts(Batch({**second.batch, **same}), second.texts, first.questions))
