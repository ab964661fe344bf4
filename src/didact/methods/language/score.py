"""Training Language Models to Self-Correct via Reinforcement Learning (Kumar et al. 2024, SCoRe).

The model answers, reads its answer followed by words that ask for a correction, and answers again; a verifier rewards
both. In the first stage only second answers learn, while a strong KL keeps first answers near the initial model, so
that the two come apart. In the second stage both learn, and second answers get a bonus for their improvement in reward
over the first.

Departures: each answer learns from its own reward alone (the paper leaves open whether first answers are credited with
the reward of the second), relative to the other answers to the prompt in the same turn. The bonus then leaves the
direction of the mean gradient of second answers unchanged: it weighs them 1 + bonus times as much as first ones, with
the reward of the first answer as a baseline. The KL is that of whole distributions, from the initial model in both
stages, which share one learning rate schedule. Prompts that contain somebody else's completion are used without it.

Compared with train.py of BY571/SCoRe, as the authors' code is not public: the stages, the bonus, the KL of whole
distributions and their weights agree. There rewards have no baseline, tokens are averaged within each answer, and
second answers have no KL in the first stage. Values and gradients:
`tests/methods/test_language_second_try.py::test_score_learns_what_the_stage_says`.

On `addition:second_try`, it is undecided against a tuned "one stage" (+1.4 points, -0.5 to +3.3), and undecided against
"correction traces" (-1.9, -3.1 to -0.6). Training takes 1.4 times the operations of the baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.policy.outputs import policy_outputs, rollout_counts
from didact.losses.policy.two_turn import (
    add_two_turn_advantages,
    two_turn_advantages,
    two_turn_kl_weights,
    two_turn_metrics,
)
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import CompletionTokens
from didact.rollouts import concat, write_twice
from didact.teachers import snapshot
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Signal, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `score`."""

    again: str = "? Again: "  # text after an answer that asks for another
    early: float = 0.3  # share of the budget for the first stage, in which only second answers learn
    bonus: float = 10.0  # weight of the improvement from first to second answer in the second stage
    hold: float = 0.1  # weight of the KL of first answers in the first stage, added to `kl`
    kl: float = 0.01  # weight of the KL from the initial model in both stages

    def __post_init__(self) -> None:
        check_range("early", self.early, at_least=0.0, at_most=1.0)
        for name in ("bonus", "hold", "kl"):
            check_range(name, getattr(self, name), at_least=0.0)


class SCoRe(Method):
    """Learn to correct own answers.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config, self.learner = config, learner
        self.reference = snapshot(learner) if config.kl or (config.hold and config.early) else None

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """First answers and then second ones to the same prompts, with their two-turn advantages."""
        return add_two_turn_advantages(concat(write_twice(writer, questions, self.config.again)).batch)

    def loss(self, batch: Batch) -> Terms:
        """The terms `policy`, and `kl` if there is a reference; the others are metrics."""
        early = self.fraction < self.config.early
        tokens = policy_outputs(self.learner(batch), batch)
        paid = two_turn_advantages(
            batch["advantage"], batch["progress"], batch["second"], bonus=self.config.bonus, early=early
        )
        terms = Terms(policy=tokens.rows.term(tokens.ppo_clip_loss(paid)))
        if self.reference is not None:
            terms["kl"] = self._kl_term(self.reference.signal(batch), batch, tokens.rows, early)
        return Terms(**terms, **tokens.metrics(batch), **two_turn_metrics(batch))

    def _kl_term(self, signal: Signal, batch: Batch, rows: CompletionTokens, early: bool) -> Term:
        """The KL from the reference, weighted by turn and stage, averaged over all tokens."""
        strength = two_turn_kl_weights(batch["second"], kl=self.config.kl, hold=self.config.hold, early=early)
        divergence = token_divergence(
            rows.hidden,
            rows.head,
            rows.pick_signal(signal),
            kind="reverse",
            weight=rows.weights(rows.spread(strength)),
        )
        return Term(divergence.sum, rows.lengths().sum())

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All tokens; for the metrics of second answers, the pairs with two known rewards."""
        paired = batch["paired"].sum()
        return {**rollout_counts(batch, {"policy": "token", "kl": "token"}), "fixed": paired, "spoiled": paired}


CLAIM = Claim(
    statement="A decoder that learns from its own two answers in two stages is right on more held-out sums, four in "
    "five of which come with a completion, than one that learns from the rewards of both from the start.",
    arms={
        "score": "score",
        "one stage": {"method": "score", "early": 0.0, "bonus": 0.0},
        "correction traces": "sft",
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="score",
    baseline="one stage",
    cheap="correction traces",
    ablation="one stage",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "score": {"lr": (1e-4, 3e-4), "bonus": (1.0, 10.0)},
        "one stage": {"lr": (5e-5, 1e-4, 3e-4, 5e-4)},
        "correction traces": {"lr": (5e-4, 1e-3)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309),
    settings={
        "student": "warm:30%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 40,
        "batch_size": 64,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="last_stage",
    stages={"score": ("early",)},
    shows="What the stages and the bonus add to rewards for both answers, where the second stage is as long as the "
    "whole run of the others. Correction traces are the data's own.",
    omits="The completions in held-out prompts are not the decoder's own, as they are in the paper, which compares "
    "second answers with first ones; and its traces for supervised learning are written by the model.",
    world="addition:second_try",
    systems=("training-language-models-to-self-correct-via",),
)
