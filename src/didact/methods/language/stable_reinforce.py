"""R1-Reward: Training Multimodal Reward Model Through Stable Reinforcement Learning (Zhang et al. 2025).

StableReinforce is REINFORCE++ (advantages relative to the whole round, in PPO's clipped surrogate, without a value
network), made stable in two ways: log-ratios are bounded before they are exponentiated, since the surrogate has none
where an advantage is negative; and advantages beyond three standard deviations, as of a rare failure among successes,
are left out.

Its third part is a reward for a judge that reasons before it prefers one of two answers, so that the reasoning agrees
with the choice: `didact.worlds.strings.preferred:reward` is one.

Departures: no divergence from the initial model, which the authors subtract from the rewards with a weight of 0.001.
Compared with https://github.com/yfzhang114/r1_reward (`models/loss.py`, `replay_buffer.py`): the bound of 1,000, the
surrogate and the mean over completions agree; the code keeps advantages between the mean reward - 3 and + 3, and the
paper, which is followed here, between -3 and 3. The code weighs completions by their tokens in mean and deviation.

Formula: `tests/methods/test_language_stability.py::test_stable_reinforce_is_its_transcription`.

On `strings:preferred`, it is equivalent to a tuned "reinforce++" (-0.3 points, -0.8 to +0.2), and equivalent to `grpo`
(-0.1, -1.7 to +1.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.policy.groups import round_advantages
from didact.losses.policy.outputs import policy_outputs, rollout_counts
from didact.losses.policy.surrogate import ClipConfig, bounded_clip_loss
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `stable_reinforce`."""

    largest: float = 1000.0  # the largest ratio of the policies that is told apart; its inverse is the smallest
    outlier: float = 3.0  # advantages beyond so many standard deviations are left out
    updates: int = 2  # optimizer steps on each round of completions

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("largest", self.largest, above=1.0)
        check_range("outlier", self.outlier, above=0.0)
        check_range("updates", self.updates, at_least=1)


class StableReinforce(Method):
    """Learn from rewards relative to the round, with bounded ratios and without outliers.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, off_policy="weighted")

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config, self.learner = config, learner
        self.feed = replace(self.feed, minibatches=config.updates)

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage` [B]."""
        batch = writer.write(questions).batch
        advantage = round_advantages(batch["reward"], batch["trust"], outlier=self.config.outlier)
        return Batch({**batch, "advantage": advantage})

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged within completions and then over them; the others are metrics."""
        tokens = policy_outputs(self.learner(batch), batch)
        losses = bounded_clip_loss(
            tokens.log_ratios(), tokens.rows.spread(batch["advantage"]), *self.config.clip, largest=self.config.largest
        )
        return Terms(policy=tokens.rows.term(tokens.weighed(losses), by="sequence"), **tokens.metrics(batch))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The completions."""
        return rollout_counts(batch, {"policy": "sequence"})


CLAIM = Claim(
    statement="A decoder that judges which of two strings is preferred is right more often with bounded ratios and "
    "without outliers.",
    arms={
        "stable": "stable_reinforce",
        "reinforce++": {"method": "stable_reinforce", "largest": 1e30, "outlier": 1e30},
        "reinforce++, same settings": {"method": "stable_reinforce", "largest": 1e30, "outlier": 1e30},
        "grpo": {"method": "grpo", "lr": 3e-4},
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="stable",
    baseline="reinforce++",
    cheap="grpo",
    ablation="reinforce++, same settings",
    untaught="untaught",
    settings={
        "student": "warm:85%:decoder:2x64",
        "verifier": "didact.worlds.strings.preferred:reward",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 60,
        "batch_size": 128,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    world="strings:preferred",
    smallest_effect=0.02,
    search={
        "stable": {"lr": (1e-4, 3e-4), "outlier": (2.0, 3.0)},
        "reinforce++": {"lr": (5e-5, 1e-4, 3e-4, 1e-3)},
    },
    seeds=(100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111),
    tuned_on=(0, 1, 2),
    shows="What the two bounds do to a judge that is nearly always right, whose failures are outliers. All arms are "
    "paid for reasoning that agrees with the choice.",
    omits="Images, large models, and runs that diverge without the bounds.",
    systems=("r1-reward",),
)
