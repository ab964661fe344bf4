"""How a language model is evaluated: its answers to test questions, read, scored and compared."""

import dataclasses
from collections.abc import Iterator, Sequence

import torch

from didact.documents import Document
from didact.experiment.material import Evaluation, Run
from didact.learners.causal import CausalLearner
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import can_compare, mean_divergence, mean_nll, model_of, other_vocabulary
from didact.materials.questions.verifying import ground_truth
from didact.rollouts import Writer
from didact.types import Question, Questions, Reward

WATCHED = 128
"""On how many validation questions a student is scored while it learns."""
SHOWN = 12
"""How many answers to test questions are kept, to be read."""
_DECIDING = ("accuracy", "nll", "teacher_kl")
"""The metrics that can decide which weights are the best, the first that there is."""


class QuestionEvaluator:
    """Of a run on questions.

    What decides is the accuracy of answers where there is a verifier; else the likelihood of the data's answers, where
    every question has one; else how far the student is from its teacher; else nothing, and then nothing is watched.

    Args:
        run: it is asked for its teacher, verifier and data.
    """

    def __init__(self, run: Run[QuestionData]) -> None:
        self.run, self.data = run, run.data
        self.truth, self.sampling = ground_truth(run), run.config.sampling
        self.metrics = self._reported()
        self.metric = next((name for name in _DECIDING if name in self.metrics), "")
        self.validates = bool(self.metric) and len(run.data.validation) > 0

    def _reported(self) -> tuple[str, ...]:
        """The figures that the run can give."""
        verified = self.run.verifier is not None
        written = all(question.completion for part in (self.data.validation, self.data.test) for question in part)
        there = {"accuracy": verified, "reward": verified, "nll": written, "teacher_kl": can_compare(self.run)}
        return tuple(name for name in self.data.metrics if there.get(name, True))

    def validate(self, student: CausalLearner) -> dict[str, float]:
        """On the first validation questions."""
        questions = self.data.validation
        return self.scores(student, questions.select(range(min(WATCHED, len(questions)))))[0]

    def test(self) -> Evaluation:
        """On the test questions."""
        run, teacher = self.run, model_of(self.run.teacher)
        metrics, answers = self.scores(run.method.delivered, self.data.test, shown=SHOWN)
        return Evaluation(
            metrics=metrics,
            validation=self.validate(run.method.delivered) if self.validates else {},
            teacher={} if teacher is None else self.scores(teacher, self.data.test, taught=False)[0],
            drawn={"answers": answers},
            labels=min(WATCHED, len(self.data.validation)) if run.config.select == "best" else 0,
        )

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        """On vocabularies that differ, and on answers that could not be judged."""
        if (words := other_vocabulary(self.run)) is not None:
            yield words
        verifier = self.run.verifier
        if verifier is not None and (silent := sum(verifier.abstentions.values())):
            why = ", ".join(f"{reason} ({count})" for reason, count in verifier.abstentions.most_common(3))
            yield f"The verifier could not judge {silent} answers: {why}. They count for nothing."

    def scores(
        self, model: CausalLearner, questions: Questions, *, shown: int = 0, taught: bool = True
    ) -> tuple[dict[str, float], list[Document]]:
        """What a model is worth on some questions.

        Args:
            model: a `CausalLearner`.
            questions: at least one.
            shown: how many answers to give back, to be read.
            taught: whether to compare it with the teacher, where there is one.

        Returns:
            `accuracy` and `reward` of its greedy answers, where they can be judged, `length` in tokens and the share
            that is `finished`; `nll`, in nats a token, of the answers of the data where all have one; `teacher_kl`,
            how far each token of its answers is from the teacher. And answers.
        """
        training = model.training
        model.eval()
        found = Writer(model, dataclasses.replace(self.sampling, temperature=0.0, samples=1)).write(
            questions, verify=False
        )
        lengths = found.batch["completion_mask"].sum(1)
        scores, rewards = self._rewards(found.texts, questions, lengths)
        if all(question.completion for question in questions):
            scores["nll"] = mean_nll(model, questions)
        if taught and self.run.teacher is not None and can_compare(self.run):
            scores["teacher_kl"] = mean_divergence(model, self.run.teacher, found.batch)
        scores |= {"length": float(lengths.float().mean()), "finished": float(found.batch["finished"].float().mean())}
        model.train(training)
        read = zip(questions, found.texts, rewards.tolist(), strict=True)
        return scores, [_shown(*one) for one in list(read)[:shown]]

    def _rewards(
        self, texts: Sequence[str], questions: Questions, lengths: torch.Tensor
    ) -> tuple[dict[str, float], torch.Tensor]:
        """Accuracy and mean reward, and the reward of each answer, NaN where it could not be judged."""
        if self.run.verifier is None:
            return {}, torch.full((len(questions),), float("nan"))
        given = self.run.verifier.judge(texts, questions, lengths=lengths.tolist())
        rewards = torch.where(_known(given), given.value, float("nan"))
        right = given if self.truth is None else self.truth.judge(texts, questions)
        correct = torch.where(_known(right), (right.value >= 1.0).float(), float("nan"))
        # What could not be judged counts neither as right nor as wrong.
        return {"accuracy": float(correct.nanmean()), "reward": float(rewards.nanmean())}, rewards


def _known(reward: Reward) -> torch.Tensor:
    """Which answers a verifier could judge: bool [B]."""
    return torch.ones_like(reward.value, dtype=torch.bool) if reward.trust is None else reward.trust > 0


def _shown(question: Question, text: str, reward: float) -> Document:
    """What the report shows of an answer; a reward that is NaN is none."""
    known = reward if reward == reward else None
    return {"prompt": question.prompt, "answer": question.answer, "said": text, "reward": known}
