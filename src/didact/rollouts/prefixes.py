"""Completions from given prefixes, such as the first steps of a chain of thought.

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
    """Complete given prefixes; each completion is verified as a whole.

    Args:
        writer: writes and verifies.
        questions: at least one.
        prefixes: the prefix of each completion; may be empty.
        samples: the number of completions of each; by default that of the sampling.
        turn: see `Writer.write`.

    Returns:
        Rollouts whose texts start with the prefix. Their `completion_mask` covers only the learner's own tokens, and
        `prefixed` [B] is 1 where the prefix is not empty.
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
    """Sample chains of thought that lead to a known answer, and keep those that the learner can follow.

    The prompt shows the learner the answer. A chain is good if the learner, without the answer, completes it correctly
    from all its steps but the last.

    Args:
        writer: writes and verifies.
        questions: those without an answer, and those that fill the learner's context, are left out.
        template: see `reveal_answer`.
        separator: the separator of steps; chains of fewer than two are discarded.
        samples: the number of chains per question.
        turns: see `Writer.write`; those of the chains and of their ends.

    Returns:
        The first good chain of each question that has one, by the question's id.
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
    """Whether a completion with this prefix fits into the learner's context."""
    tokenizer = writer.learner.tokenizer
    return len(tokenizer.prompt(question)) + len(tokenizer.encode(prefix)) < writer.learner.context


def split_steps(text: str, separator: str) -> list[str]:
    """The steps of a chain of thought, empty ones left out."""
    return [step for step in text.split(separator) if step.strip()]


def join_steps(steps: Sequence[str], count: int, separator: str) -> str:
    """The first `count` steps, each followed by the separator."""
    return "".join(step + separator for step in steps[:count])


class Chains:
    """A learner's own chains of thought, which are shortened from the end; `Stateful`.

    Args:
        separator: the separator of steps.
    """

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self.texts: dict[int, str] = {}
        """The chains by the ids of their questions."""
        self.removed = 1
        """The number of steps that are removed at present."""

    def shorten(self, success: float, enough: float) -> None:
        """Remove one more step if enough rollouts from the prefixes were correct.

        If no chain has that many steps, all chains are dropped, and new ones start with one step removed.

        Args:
            success: the share of correct ones, in [0, 1].
            enough: the share from which a step is removed.
        """
        if success < enough:
            return
        self.removed += 1
        if self.removed > max((len(split_steps(text, self.separator)) for text in self.texts.values()), default=0):
            self.texts, self.removed = {}, 1

    def prefix(self, number: int, chance: float | None = None) -> str:
        """The prefix of a question's chain; empty if all steps are removed.

        Args:
            number: the question's id.
            chance: in [0, 1), draws the number of steps instead, from none to all but one.
        """
        steps = split_steps(self.texts[number], self.separator)
        shown = max(len(steps) - self.removed, 0) if chance is None else math.floor(chance * len(steps))
        return join_steps(steps, shown, self.separator)

    def state_dict(self) -> State:
        """The chains, and the number of removed steps."""
        ids = torch.tensor(list(self.texts), dtype=torch.int64)
        return {"ids": ids, "texts": list(self.texts.values()), "removed": self.removed}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        self.texts = dict(zip(state["ids"].tolist(), state["texts"], strict=True))
        self.removed = state["removed"]
