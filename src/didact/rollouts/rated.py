"""Batches of pairs out of answers that were rated."""

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
    """The best answer to each question with each of its other answers, from the easiest pair to the hardest."""

    pairs: Mapping[int, Sequence[tuple[str, str, float]]]
    """By id of the question: the best answer, another one, and how much lower that is rated."""

    @classmethod
    def from_questions(cls, questions: Questions, learner: Any) -> "RatedPairs":
        """Pair the rated answers of questions.

        Args:
            questions: with `rated` answers; see `didact.sources.rated_answers`.
            learner: a `CausalLearner` that is to read them.

        Raises:
            DataError: a question without two answers of which one is better.
            ConfigError: an answer that the learner cannot read as a whole.
        """
        texts, rating = rated_answers(questions)
        best, others, gaps = best_vs_rest(rating)
        pairs: dict[int, list[tuple[str, str, float]]] = {}
        rows = zip(questions, texts, best.tolist(), others.tolist(), gaps.tolist(), strict=True)
        for question, answers, first, row, far in rows:
            pairs[question.id] = [(answers[first], answers[i], gap) for i, gap in zip(row, far, strict=True) if gap > 0]
            check_answers(question, answers, learner)
        return cls(pairs)

    @property
    def max_pairs(self) -> int:
        """The most pairs that a question has."""
        return max(map(len, self.pairs.values()), default=0)

    def batch(self, writer: Writer, questions: Sequence[Question], shares: Sequence[float]) -> Batch:
        """One pair a question, laid out as those of `CompletionSource` are.

        Args:
            writer: lays them out.
            questions: B of them.
            shares: B numbers in [0, 1); how far down its list, from the easiest pair on, each question's pair lies.

        Returns:
            The best answers, the others as the view `rejected`, and `gap`, float32 [B], how far their ratings differ.
        """
        writer.read(questions)
        lists = [self.pairs[question.id] for question in questions]
        pairs = [made[int(len(made) * share)] for made, share in zip(lists, shares, strict=True)]
        best, others, gaps = zip(*pairs, strict=True)
        chosen, rejected = (writer.encode(questions, texts).batch for texts in (best, others))
        view = {f"rejected.{name}": rejected[name] for name in _INPUTS}
        return Batch({**chosen, **view, "gap": torch.tensor(gaps)})


def check_answers(question: Question, answers: Sequence[str], learner: Any) -> None:
    """Raise `ConfigError` where the longest of some answers is too long for a learner, with its prompt."""
    longest = max(len(learner.tokenizer.completion(text)) for text in answers)
    prompt = len(learner.tokenizer.prompt(question))
    check_length(learner, prompt + longest, what=f"The longest answer to {question.prompt[:60]!r}")
