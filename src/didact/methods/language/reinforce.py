"""Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning (Williams 1992, REINFORCE).

A whole completion is one action: its log-probability is multiplied by its reward minus a baseline.

Departures: the baseline is the mean reward of the round, where the paper leaves it open; `baseline=none` has none.

In its claim a baseline earned 0.5 more on average over ten seeds, by very different amounts, since whether the greedy
answer has changed after 12 steps depends on the initial model; five seeds before were too few to tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_choice
from didact.losses.policy.outputs import add_advantages, policy_outputs, rollout_counts
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `reinforce`."""

    baseline: str = "mean"  # subtracted from each reward: the mean of the round, or none

    def __post_init__(self) -> None:
        check_choice("baseline", self.baseline, ("mean", "none"))


class Reinforce(Method):
    """Learn from rewards of whole completions.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, off_policy="weighted")

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.learner = learner

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage` [B]."""
        batch = writer.write(questions).batch
        everything = torch.zeros_like(batch["group"])
        return add_advantages(batch, group=everything, baseline=self.config.baseline, scale=False)

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over completions; the others are metrics."""
        tokens = policy_outputs(self.learner(batch), batch)
        log_probs = tokens.rows.sums(tokens.weighed(tokens.log_probs))
        losses = -(log_probs * batch["advantage"])
        return Terms(policy=Term(losses.sum(), batch.size, rows=losses), **tokens.metrics(batch))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The completions."""
        return {"policy": batch.size, **rollout_counts(batch, {})}


CLAIM = Claim(
    statement="A policy earns more after as many steps when the mean reward is subtracted from each than when none is.",
    arms={
        "mean": "reinforce",
        "none": {"method": "reinforce", "baseline": "none"},
        "sft": "sft",
    },
    method="mean",
    baseline="none",
    cheap="sft",
    settings={
        "student": "warm:100:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 12,
        "batch_size": 64,
        "lr": 1e-4,
        "evaluate_every": 100,
        "verifier": r"regex:/^(\d)\1\1$/+regex:/\d/",
    },
    equal="steps",
    shows="A completion earns 1 for a digit, and 1 more if it is one digit three times, which is rare at first; "
    "the constant part teaches nothing, and without a baseline it is noise.",
    omits="The paper proves that a baseline leaves the mean gradient as it is, and claims no speed; the reward "
    "is for the same completion of every prompt.",
    world="addition",
    metric="reward",
    seeds=(200, 201, 202, 203, 204, 205, 206, 207, 208, 209),
    tuned_on=(0, 1),
    tuned="Steps (12, 20, 40) and the learning rate (1e-4, 3e-4), the same for all, as those at which arms differ. "
    "On seeds 100 to 104, five were too few to tell; it is reported on ten others.",
)
