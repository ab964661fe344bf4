"""Answers whose beginning is given: the steps of a chain of thought that are shown, and what the learner makes of them.

Axis letters: B attempts.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from didact.rollouts.collecting import Asker, Attempts
from didact.types import Batch, Question


def continued(
    ask: Asker, questions: Sequence[Question], openings: Sequence[str], *, samples: int | None = None, turn: int = 0
) -> Attempts:
    """Have answers completed whose beginning is given, and have each judged as a whole.

    Args:
        ask: who asks the learner, and has its answers judged.
        questions: at least one.
        openings: how the answer to each begins; may be empty.
        samples: answers to each; by default as the sampling says.
        turn: see `Asker.attempt`.

    Returns:
        Attempts whose words begin with the opening. Their `completion_mask` covers what the learner wrote itself alone,
        and `opened` [B] is 1 where it began behind something.
    """
    tokenizer = ask.learner.tokenizer
    prompts = [[*tokenizer.prompt(q), *tokenizer.encode(text)] for q, text in zip(questions, openings, strict=True)]
    found = ask.attempt(questions, samples=samples, turn=turn, prompts=prompts, judged=False)
    each = len(found.texts) // len(questions)
    shown = [text for text in openings for _ in range(each)]
    whole = tuple(opening + text for opening, text in zip(shown, found.texts, strict=True))
    opened = found.batch["temperature"].new_tensor([float(bool(text)) for text in shown])
    return ask.judge(Attempts(Batch({**found.batch, "opened": opened}), whole, found.questions))


def told(question: Question, template: str) -> Question:
    """The question with its answer in the prompt; in a conversation, in the last of its messages.

    Args:
        question: one with an `answer`.
        template: words with `{prompt}` and `{answer}`.
    """
    if not question.messages:
        return dataclasses.replace(question, prompt=template.format(prompt=question.prompt, answer=question.answer))
    *before, last = question.messages
    words = template.format(prompt=last["content"], answer=question.answer)
    return dataclasses.replace(question, messages=(*before, {**last, "content": words}))


def explained(
    ask: Asker, questions: Sequence[Question], *, template: str, separator: str, samples: int, turns: tuple[int, int]
) -> dict[int, str]:
    """Have the learner write chains of thought to answers that it is told, and keep those that lead there.

    A chain is good where the learner, which then is not told the answer, ends it rightly from all its steps but the
    last.

    Args:
        ask: who asks the learner, and has its answers judged.
        questions: those without an answer, and those that leave no room in the learner's context, are left out.
        template: see `told`.
        separator: what stands between steps; chains of less than two are none.
        samples: chains that are written for each question.
        turns: see `Asker.attempt`; of the writing, and of the ending.

    Returns:
        By the id of the question its first good chain, where there is one.
    """
    known = {question.id: question for question in questions if question.answer is not None}
    asked = [again for question in known.values() if _fits(ask, again := told(question, template))]
    if not asked:
        return {}
    found = ask.attempt(asked, samples=samples, turn=turns[0], judged=False)
    written = zip(found.questions, (steps_of(text, separator) for text in found.texts), strict=True)
    tried = [(known[q.id], steps, opening(steps, len(steps) - 1, separator)) for q, steps in written if len(steps) > 1]
    tried = [(question, steps, start) for question, steps, start in tried if _fits(ask, question, start)]
    if not tried:
        return {}
    originals, chains, starts = zip(*tried, strict=True)
    ends = continued(ask, originals, starts, samples=1, turn=turns[1])
    right = (ends.batch["correct"] > 0).tolist()
    good = [(q.id, separator.join(steps)) for q, steps, fine in zip(originals, chains, right, strict=True) if fine]
    return dict(reversed(good))


def _fits(ask: Asker, question: Question, start: str = "") -> bool:
    """Whether the learner's context has room for an answer that begins so."""
    tokenizer = ask.learner.tokenizer
    return len(tokenizer.prompt(question)) + len(tokenizer.encode(start)) < ask.learner.context


def steps_of(text: str, separator: str) -> list[str]:
    """The steps of a chain of thought, empty ones left out."""
    return [step for step in text.split(separator) if step.strip()]


def opening(steps: Sequence[str], count: int, separator: str) -> str:
    """The first `count` steps, each with the separator behind it."""
    return "".join(step + separator for step in steps[:count])


class Chains:
    """Chains of thought of a learner's own, whose steps are taken away from the end; `Stateful`.

    Args:
        separator: what stands between steps.
    """

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self.texts: dict[int, str] = {}
        """By the id of their question."""
        self.removed = 1
        """How many steps are taken away at present."""

    def shorten(self, success: float, enough: float) -> None:
        """Take away one step more where enough attempts behind what is shown were right.

        Where no chain has that many steps, all chains are forgotten, and new ones begin with one step less.

        Args:
            success: their share in [0, 1].
            enough: the least share for which it is done.
        """
        if success < enough:
            return
        self.removed += 1
        if self.removed > max((len(steps_of(text, self.separator)) for text in self.texts.values()), default=0):
            self.texts, self.removed = {}, 1

    def opening(self, number: int, chance: float | None = None) -> str:
        """The steps that are shown of a question's chain: none where all are taken away.

        Args:
            number: the question's id.
            chance: in [0, 1), to show any number of steps but all, whatever has been taken away.
        """
        steps = steps_of(self.texts[number], self.separator)
        shown = max(len(steps) - self.removed, 0) if chance is None else math.floor(chance * len(steps))
        return opening(steps, shown, self.separator)

    def state_dict(self) -> dict[str, Any]:
        """The chains, and how far they are shortened."""
        ids = torch.tensor(list(self.texts), dtype=torch.int64)
        return {"ids": ids, "texts": list(self.texts.values()), "removed": self.removed}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take back what `state_dict` gave."""
        self.texts = dict(zip(state["ids"].tolist(), state["texts"], strict=True))
        self.removed = state["removed"]


def chosen(attempts: Attempts, which: Tensor) -> Attempts:
    """Those of some attempts where `which` (bool [B]) is true."""
    places = which.nonzero()[:, 0].tolist()
    texts, questions = (tuple(parts[i] for i in places) for parts in (attempts.texts, attempts.questions))
    return Attempts(attempts.batch.select(which), texts, questions)
