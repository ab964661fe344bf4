"""Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning (Williams 1992, REINFORCE).

A whole completion is one action: its log-probability is multiplied by its reward minus a baseline.

Departures: the baseline is the mean reward of the round, where the paper leaves it open; `baseline=none` has none.

Compared with reinforcement_learning/reinforce.py of pytorch/examples: sign and baseline agree. There the loss is a sum
over the actions of one episode, whose returns are also divided by their standard deviation. Values and gradients:
`tests/methods/test_language_rewards.py::test_a_whole_attempt_is_one_action`.

On `addition`, it is better than a tuned "none" by 3.0 points (1.3 to 4.6), and worse than `sft` by 15.9 (10.5 to 21.4).
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
    statement="A decoder is right on more held-out sums after as many steps when the mean reward is subtracted from "
    "each than when none is.",
    arms={
        "mean": "reinforce",
        "none": {"method": "reinforce", "baseline": "none"},
        "sft": "sft",
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="mean",
    baseline="none",
    cheap="sft",
    ablation="none",
    untaught="untaught",
    smallest_effect=0.02,
    search={
        "mean": {"lr": (2e-4, 5e-4, 1e-3)},
        "none": {"lr": (2e-4, 5e-4, 1e-3)},
        "sft": {"lr": (1e-3, 3e-3)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311),
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "verifier": r"exact+0.5*regex:/\d/",
        "steps": 50,
        "batch_size": 128,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="A completion earns half a point for a digit, and 1 more if it is right; the constant part teaches nothing, "
    "and without a baseline it is noise.",
    omits="The paper proves that a baseline leaves the mean gradient as it is, and claims no speed.",
    world="addition",
)
