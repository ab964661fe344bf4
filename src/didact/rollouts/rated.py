"""Batches of preference pairs from rated completions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from didact.learners.causal import check_length
from didact.losses.policy.preferences import best_vs_rest
from didact.rollouts.writer import Writer
from didact.sources import rated_answers
from didact.types import Batch, Question, Questions

_INPUTS = ("input_ids", "attention_mask", "completion_mask")


@dataclass(frozen=True, slots=True)
class RatedPairs:
    """The best completion of each prompt paired with each other one, from the easiest pair to the hardest."""

    pairs: Mapping[int, Sequence[tuple[str, str, float]]]
    """By id of the question: the best completion, another one, and the difference of their ratings."""

    @classmethod
    def from_questions(cls, questions: Questions, learner: Any) -> "RatedPairs":
        """Pair the rated completions of questions.

        Args:
            questions: with `rated` answers; see `didact.sources.rated_answers`.
            learner: a `CausalLearner`, whose context they must fit.

        Raises:
            DataError: a question lacks two completions with different ratings.
            ConfigError: a completion exceeds the learner's context.
        """
        texts, rating = rated_answers(questions)
        best, others, gaps = best_vs_rest(rating)
        pairs: dict[int, list[tuple[str, str, float]]] = {}
        rows = zip(questions, texts, best.tolist(), others.tolist(), gaps.tolist(), strict=True)
        for question, answers, first, row, far in rows:
            pairs[question.id] = [(answers[first], answers[i], gap) for i, gap in zip(row, far, strict=True) if gap > 0]
            check_completions(question, answers, learner)
        return cls(pairs)

    @property
    def max_pairs(self) -> int:
        """The largest number of pairs of a question."""
        return max(map(len, self.pairs.values()), default=0)

    def batch(self, writer: Writer, questions: Sequence[Question], shares: Sequence[float]) -> Batch:
        """One pair per question, in the layout of `CompletionSource`.

        Args:
            writer: encodes them.
            questions: B of them.
            shares: B numbers in [0, 1); the relative position of each question's pair in its list, easiest first.

        Returns:
            The best completions, the others as the view `rejected`, and `gap`, float32 [B], the difference of ratings.
        """
        writer.read(questions)
        lists = [self.pairs[question.id] for question in questions]
        pairs = [made[int(len(made) * share)] for made, share in zip(lists, shares, strict=True)]
        best, others, gaps = zip(*pairs, strict=True)
        chosen, rejected = (writer.encode(questions, texts).batch for texts in (best, others))
        view = {f"rejected.{name}": rejected[name] for name in _INPUTS}
        return Batch({**chosen, **view, "gap": torch.tensor(gaps)})


def check_completions(question: Question, answers: Sequence[str], learner: Any) -> None:
    """Raise `ConfigError` if the longest of some completions, with its prompt, exceeds a learner's context."""
    longest = max(len(learner.tokenizer.completion(question, text)) for text in answers)
    prompt = len(learner.tokenizer.prompt(question))
    check_length(learner, prompt + longest, what=f"The longest completion of {question.prompt[:60]!r}")
