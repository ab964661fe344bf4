"""Evaluation of a language model by its completions of test prompts: scored, compared and shown."""

import dataclasses
from collections.abc import Iterator, Sequence

import torch

from didact import hashing
from didact.documents import Document
from didact.experiment.material import Evaluation, Run
from didact.learners.causal import CausalLearner
from didact.materials.questions import worth
from didact.materials.questions.conversations import unread_details
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import (
    can_compare,
    likelihood,
    mean_divergence,
    mean_nll,
    model_of,
    other_vocabulary,
    pair_accuracy,
    step_accuracy,
)
from didact.materials.questions.verifying import ground_truth
from didact.parts.environment import environment_of
from didact.rollouts import Writer
from didact.types import Batch, Question, Questions, Reward

WATCHED = 128
"""Validation questions on which a student is scored during training."""
SHOWN = 12
"""Test completions that are kept for the report."""
_DECIDING = ("accuracy", "nll", "teacher_kl")
"""The metrics that can select the best weights; the first available one does."""


class QuestionEvaluator:
    """Evaluates a run on questions.

    The validation metric is the accuracy of completions if there is a verifier; else the likelihood of the data's
    completions, if every question has one; else the divergence from the teacher. Without any, there is no validation.

    Args:
        run: the run, with its teacher, verifier and data.
    """

    def __init__(self, run: Run[QuestionData]) -> None:
        self.run, self.data = run, run.data
        self.truth, self.sampling = ground_truth(run), run.config.sampling
        own = getattr(run.info.method_type, "answer_scores", None)
        self._ranks = own is not None
        self.metrics = self._reported()
        self.rank = likelihood if own is None else own
        # A model of rewards is no writer: how it orders pairs is what counts.
        deciding = _DECIDING if own is None else ("pair_accuracy", "step_accuracy")
        self.metric = next((name for name in deciding if name in self.metrics), "")
        self.held_out: Batch | None = None
        self.held_in: Batch | None = None
        self.validates = bool(self.metric) and len(run.data.validation) > 0

    def _reported(self) -> tuple[str, ...]:
        """The metrics that the run can report."""
        verified = self.run.verifier is not None
        questions = [question for part in (self.data.validation, self.data.test) for question in part]
        there = {
            "accuracy": verified,
            "reward": verified,
            "nll": all(question.answered for question in questions),
            "pair_accuracy": all(question.answered and question.rejected for question in questions),
            "step_accuracy": self._ranks and all(question.steps for question in questions),
            "teacher_kl": can_compare(self.run),
        }
        return tuple(name for name in self.data.metrics if there.get(name, True))

    def validate(self, student: CausalLearner) -> dict[str, float]:
        """Metrics on validation questions: at most `WATCHED` of them, drawn from all."""
        questions = self.data.validation
        return self.scores(student, questions.select(hashing.sample(len(questions), WATCHED)))[0]

    def test(self) -> Evaluation:
        """Metrics on the test questions."""
        run, teacher = self.run, model_of(self.run.teacher)
        metrics, answers = self.scores(run.method.delivered, self.data.test, shown=SHOWN)
        return Evaluation(
            metrics=metrics,
            validation=self.validate(run.method.delivered) if self.validates else {},
            teacher={} if teacher is None else self.scores(teacher, self.data.test, taught=False)[0],
            diagnostics={"answers": answers},
            labels=min(WATCHED, len(self.data.validation)) if run.config.select == "best" else 0,
            committee=worth.describe(run),
        )

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        """Notes on how data were read, on different vocabularies, and on completions that were not verified."""
        yield from self.data.questions.layouts
        yield from unread_details(self.run)
        if (words := other_vocabulary(self.run)) is not None:
            yield words
        yield from worth.notes(evaluation.committee)
        writer = getattr(self.run.source, "actor", None)
        engine = getattr(writer, "engine", None)
        if failures := getattr(writer, "environment_failures", None):
            why = ", ".join(f"{reason} ({count})" for reason, count in failures.most_common(3))
            yield f"The environment failed, and answered with an error: {why}."
        if engine is not None and engine.failures:
            why = ", ".join(f"{reason} ({count})" for reason, count in engine.failures.most_common(3))
            yield f"Requests to the server failed and were repeated: {why}."
        verifier = self.run.verifier
        if verifier is not None and (silent := sum(verifier.abstentions.values())):
            why = ", ".join(f"{reason} ({count})" for reason, count in verifier.abstentions.most_common(3))
            yield f"The verifier abstained on {silent} completions: {why}. They are left out of the metrics."

    def scores(
        self, model: CausalLearner, questions: Questions, *, shown: int = 0, taught: bool = True
    ) -> tuple[dict[str, float], list[Document]]:
        """The metrics of a model on some questions.

        Args:
            model: a `CausalLearner`.
            questions: at least one.
            shown: the number of completions to return for the report.
            taught: whether to compare it with the teacher, if there is one.

        Returns:
            The metrics: `accuracy` and `reward` of its greedy completions, if there is a verifier; `length` in tokens,
            and the share `finished`; `nll` of the data's desirable completions in nats per token, if all have one;
            `pair_accuracy`, the share of pairs whose preferred completion is likelier per token (for reward models: has
            the higher reward), if all questions have a pair; `step_accuracy`, the share of steps that a reward model
            takes for what they are, if all have labels of steps; `teacher_kl`, the mean divergence from the teacher per
            token. And the shown completions.
        """
        training = model.training
        model.eval()
        limits = self.run.config.environment
        writer = Writer(
            model,
            dataclasses.replace(self.sampling, temperature=0.0, samples=1),
            environment=environment_of(limits.kind),
            limits=limits,
        )
        found = writer.write(questions, verify=False)
        lengths = found.batch["completion_mask"].sum(1)
        scores, rewards = self._rewards(found.texts, questions, lengths)
        good = questions.select([i for i, question in enumerate(questions) if question.label is not False])
        if len(good) and all(question.answered for question in good):
            scores["nll"] = mean_nll(model, good)
        if all(question.completion and question.rejected for question in questions):
            scores["pair_accuracy"] = pair_accuracy(model, questions, self.rank)
        if self._ranks and all(question.steps for question in questions):
            scores["step_accuracy"] = step_accuracy(model, questions)
        if taught and self.run.teacher is not None and can_compare(self.run):
            scores["teacher_kl"] = mean_divergence(model, self.run.teacher, found.batch)
        scores |= {"length": float(lengths.float().mean()), "finished": float(found.batch["finished"].float().mean())}
        model.train(training)
        read = zip(questions, found.texts, rewards.tolist(), strict=True)
        return scores, [_shown(*one) for one in list(read)[:shown]]

    def _rewards(
        self, texts: Sequence[str], questions: Questions, lengths: torch.Tensor
    ) -> tuple[dict[str, float], torch.Tensor]:
        """Accuracy and mean reward, and the reward of each completion, NaN where the verifier abstained."""
        if self.run.verifier is None:
            return {}, torch.full((len(questions),), float("nan"))
        given = self.run.verifier.verify(texts, questions, lengths=lengths.tolist())
        rewards = torch.where(_known(given), given.value, float("nan"))
        right = given if self.truth is None else self.truth.verify(texts, questions)
        correct = torch.where(_known(right), (right.value >= 1.0).float(), float("nan"))
        # Where the verifier abstained, a completion counts neither as right nor as wrong.
        return {"accuracy": float(correct.nanmean()), "reward": float(rewards.nanmean())}, rewards


def _known(reward: Reward) -> torch.Tensor:
    """The completions on which a verifier did not abstain: bool [B]."""
    return torch.ones_like(reward.value, dtype=torch.bool) if reward.trust is None else reward.trust > 0


def _shown(question: Question, text: str, reward: float) -> Document:
    """The report's entry for a completion; a NaN reward becomes None."""
    known = reward if reward == reward else None
    return {"prompt": question.prompt, "answer": question.answer, "said": text, "reward": known}
