"""KTO: Model Alignment as Prospect Theoretic Optimization (Ethayarajh, Xu, Muennighoff, Jurafsky & Kiela 2024).

Answers need no pairs: each is labelled good or bad (a pair is one of each). The value of an answer is a sigmoid of its
log-ratio to the frozen initial model, relative to the mean divergence of the policy from that model. Good answers gain
value up to saturation, bad ones lose it.

Departures: the divergence is estimated once before each step, from the prompts of the batch with the answers of their
neighbours as in the paper. The loss is a mean over answers and the learning rate a twentieth of `sft`'s, as in TRL. The
loss, the clamped divergence and the defaults are those of the authors' code (github.com/ContextualAI/HALOs,
`train/trainers.py` and `config/loss/kto.yaml`), which also leaves answers without log-ratio out of the divergence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import DataError, check_range
from didact.losses.policy.outputs import sequence_log_probs
from didact.losses.policy.preferences import kto_loss
from didact.losses.tokens.rows import metric_term
from didact.rollouts import completion_of, score_completions
from didact.teachers import snapshot
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `kto`."""

    beta: float = 0.1  # weight of the divergence from the initial model; higher stays nearer
    desirable: float = 1.0  # weight of good answers
    undesirable: float = 1.0  # weight of bad answers

    def __post_init__(self) -> None:
        check_range("beta", self.beta, above=0.0)
        check_range("desirable", self.desirable, at_least=0.0)
        check_range("undesirable", self.undesirable, at_least=0.0)


class KTO(Method):
    """Learn from answers that are labelled good or bad.

    Args:
        config: the options.
        learner: a causal language model.
        questions: the training prompts, each with a `completion`, and with a `label` or a `rejected` answer.

    Raises:
        DataError: a prompt with neither.
    """

    feed = RolloutFeed(rate=0.05, completions=True, unpaired=True)

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        self.config, self.learner = config, learner
        self.reference = snapshot(learner)
        for question in questions:
            _labelled(question)

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """The answers with `good`, their `reference` log-probability and the `divergence`; [B] each."""
        rows = [row for question in questions for row in _labelled(question)]
        writer.read(questions)
        asked, texts, good = ([row[place] for row in rows] for place in range(3))
        batch, others = (writer.encode(asked, one).batch for one in (texts, [*texts[1:], texts[0]]))
        # A prompt with its neighbour's answer may be longer than either.
        others = Batch({name: x[:, : writer.learner.context] if x.ndim > 1 else x for name, x in others.items()})
        apart = score_completions(self.learner, others) - score_completions(self.reference.learner, others)
        told = {
            "good": torch.tensor(good),
            "reference": score_completions(self.reference.learner, batch),
            "divergence": apart.mean().clamp(min=0.0).expand(batch.size),
        }
        return Batch({**batch, **told})

    def loss(self, batch: Batch) -> Terms:
        """The term `preference`; `good`, `bad` are the mean log-ratios of such answers, `divergence` that of others."""
        config, good = self.config, batch["good"]
        ratio = sequence_log_probs(self.learner(batch), batch) - batch["reference"]
        losses = kto_loss(
            ratio,
            good,
            batch["divergence"],
            beta=config.beta,
            desirable=config.desirable,
            undesirable=config.undesirable,
        )
        return Terms(
            preference=Term(losses.sum(), batch.size, rows=losses),
            good=metric_term(ratio, good.float()),
            bad=metric_term(ratio, 1.0 - good.float()),
            divergence=metric_term(batch["divergence"]),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All answers, the good and the bad."""
        good = batch["good"].sum()
        return {"preference": batch.size, "good": good, "bad": batch.size - good, "divergence": batch.size}


def _labelled(question: Question) -> list[tuple[Question, str, bool]]:
    """The answers to a prompt with their labels; a pair is a good one and a bad one.

    Raises:
        DataError: it has neither a label nor a pair.
    """
    given = completion_of(question)
    if question.label is not None:
        return [(question, given, question.label)]
    if question.rejected:
        return [(question, given, True), (question, question.rejected, False)]
    raise DataError(
        f"The question {question.prompt[:60]!r} has neither a label nor a rejected answer, but kto needs to know "
        "whether its completion is good; give a column label of true and false, or pairs."
    )


CLAIM = Claim(
    statement="A model that learns from right and wrong sums by their labels is right more often than one that fits "
    "the right sums alone.",
    arms={
        "kto": {"method": "kto", "beta": 0.5, "lr": 0.00001},
        "sft": {"method": "sft", "lr": 0.0003},
        "dpo": {"method": "dpo", "beta": 0.5, "lr": 0.00001},
    },
    method="kto",
    baseline="sft",
    cheap="dpo",
    settings={
        "student": "warm:700:decoder:2x64",
        "batch_size": 64,
        "steps": 100,
        "sampling": {"max_new_tokens": 6},
    },
    equal="steps",
    world="addition:pairs",
    seeds=(100, 101, 102, 103, 104),
    tuned_on=(0,),
    tuned="The learning rate of kto (0.00001, 0.0001); the others have those of the claim of dpo.",
    shows="What wrong answers add as such, without being paired with the right ones; kto reads 64 of each per step.",
    omits="Labels of people for whole answers that a model wrote.",
)
