"""Completions whose beginning is given: the steps of a chain of thought that are shown, and what the learner adds.

Axis letters: B rollouts.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch

from didact.documents import State
from didact.rollouts.layout import Rollouts
from didact.rollouts.writer import Writer
from didact.types import Batch, Question


def continue_prefixes(
    writer: Writer, questions: Sequence[Question], prefixes: Sequence[str], *, samples: int | None = None, turn: int = 0
) -> Rollouts:
    """Write completions whose beginning is given, each verified as a whole.

    Args:
        writer: writes and verifies.
        questions: at least one.
        prefixes: how the completion of each begins; may be empty.
        samples: completions of each; by default as the sampling says.
        turn: see `Writer.write`.

    Returns:
        Rollouts whose texts begin with the prefix. Their `completion_mask` covers what the learner wrote itself alone,
        and `prefixed` [B] is 1 where it began behind something.
    """
    tokenizer = writer.learner.tokenizer
    prompts = [[*tokenizer.prompt(q), *tokenizer.encode(text)] for q, text in zip(questions, prefixes, strict=True)]
    found = writer.write(questions, samples=samples, turn=turn, prompts=prompts, verify=False)
    each = len(found.texts) // len(questions)
    shown = [text for text in prefixes for _ in range(each)]
    whole = tuple(prefix + text for prefix, text in zip(shown, found.texts, strict=True))
    prefixed = found.batch["temperature"].new_tensor([float(bool(text)) for text in shown])
    return writer.verify(Rollouts(Batch({**found.batch, "prefixed": prefixed}), whole, found.questions))


def reveal_answer(question: Question, template: str) -> Question:
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


def write_chains(
    writer: Writer,
    questions: Sequence[Question],
    *,
    template: str,
    separator: str,
    samples: int,
    turns: tuple[int, int],
) -> dict[int, str]:
    """Write chains of thought that lead to a known answer, and keep those that the learner can follow.

    The learner is shown the answer while it writes. A chain is good where the learner, without the answer, ends it
    rightly from all its steps but the last.

    Args:
        writer: writes and verifies.
        questions: those without an answer, and those that leave no room in the learner's context, are left out.
        template: see `reveal_answer`.
        separator: what stands between steps; chains of less than two are none.
        samples: chains that are written for each question.
        turns: see `Writer.write`; of the chains, and of their ends.

    Returns:
        By the id of the question its first good chain, where there is one.
    """
    known = {question.id: question for question in questions if question.answer is not None}
    shown = [again for question in known.values() if _fits(writer, again := reveal_answer(question, template))]
    if not shown:
        return {}
    found = writer.write(shown, samples=samples, turn=turns[0], verify=False)
    chains = zip(found.questions, (split_steps(text, separator) for text in found.texts), strict=True)
    long = [(known[question.id], steps) for question, steps in chains if len(steps) > 1]
    tried = [(question, steps, join_steps(steps, len(steps) - 1, separator)) for question, steps in long]
    tried = [(question, steps, prefix) for question, steps, prefix in tried if _fits(writer, question, prefix)]
    if not tried:
        return {}
    originals, written, prefixes = zip(*tried, strict=True)
    ends = continue_prefixes(writer, originals, prefixes, samples=1, turn=turns[1])
    right = (ends.batch["correct"] > 0).tolist()
    good = [(q.id, separator.join(steps)) for q, steps, fine in zip(originals, written, right, strict=True) if fine]
    return dict(reversed(good))


def _fits(writer: Writer, question: Question, prefix: str = "") -> bool:
    """Whether the learner's context has room for a completion that begins so."""
    tokenizer = writer.learner.tokenizer
    return len(tokenizer.prompt(question)) + len(tokenizer.encode(prefix)) < writer.learner.context


def split_steps(text: str, separator: str) -> list[str]:
    """The steps of a chain of thought, empty ones left out."""
    return [step for step in text.split(separator) if step.strip()]


def join_steps(steps: Sequence[str], count: int, separator: str) -> str:
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
        """Take away one step more where enough rollouts behind what is shown were right.

        Where no chain has that many steps, all chains are forgotten, and new ones begin with one step less.

        Args:
            success: their share in [0, 1].
            enough: the least share for which it is done.
        """
        if success < enough:
            return
        self.removed += 1
        if self.removed > max((len(split_steps(text, self.separator)) for text in self.texts.values()), default=0):
            self.texts, self.removed = {}, 1

    def prefix(self, number: int, chance: float | None = None) -> str:
        """The steps that are shown of a question's chain: none where all are taken away.

        Args:
            number: the question's id.
            chance: in [0, 1), to show any number of steps but all, whatever has been taken away.
        """
        steps = split_steps(self.texts[number], self.separator)
        shown = max(len(steps) - self.removed, 0) if chance is None else math.floor(chance * len(steps))
        return join_steps(steps, shown, self.separator)

    def state_dict(self) -> State:
        """The chains, and how far they are shortened."""
        ids = torch.tensor(list(self.texts), dtype=torch.int64)
        return {"ids": ids, "texts": list(self.texts.values()), "removed": self.removed}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        self.texts = dict(zip(state["ids"].tolist(), state["texts"], strict=True))
        self.removed = state["removed"]
