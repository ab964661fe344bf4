"""Bridging Supervised Learning and Reinforcement Learning in Math Reasoning (Chen et al. 2025, NFT).

Right completions are fitted as in supervised learning. Wrong ones are fitted too, by an implicit negative policy that
is derived from the learner: the rollout policy is a mixture of a positive policy, which is the learner, and this
negative one. There is no reward model and no value network.

Departures from the authors' code: the loss is the mean over all tokens of a step, where theirs is a sum divided by
1000; groups that are all right or all wrong have weight 0, where theirs samples other prompts instead; ratios are not
capped at exp(10). Completions with a reward of 1 or more count as right. `negative=0`, as in theirs, is rejection
sampling. With one update a round, `hard` has the gradient of GRPO without scaling, and `scaled` that of GRPO with the
standard deviation of the whole group.

Compared with dp_actor.py of NVlabs/NFT: both losses, the floor with its gradient, the weights and the bounds of
accuracies agree; `priority`, `negative` and `floor` are those of its scripts, which have no entropy bonus either.
Values and gradients: `tests/methods/test_language_rewards.py::test_nft`.

On `addition`, it is worse than a tuned "right ones alone" by 3.0 points (1.5 to 4.4), and equivalent to `grpo` (0.0,
-1.4 to +1.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.policy.groups import dead_groups, group_mean
from didact.losses.policy.outputs import policy_outputs, rollout_counts
from didact.losses.policy.surrogate import nft_loss
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Terms

LEAST = 0.02
"""Accuracies are kept this far from 0 and 1, as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `nft`."""

    priority: Literal["hard", "even", "scaled"] = "hard"  # weight of a prompt of accuracy r: 1-r, 1, root of (1-r)/r
    negative: float = 1.0  # weight of wrong completions; at 0, right ones alone are fitted
    floor: float = 1.0  # lower bound of the negative policy's ratio; 1 in the authors' code
    updates: int = 1  # optimizer steps on each round of completions

    def __post_init__(self) -> None:
        check_range("negative", self.negative, at_least=0.0)
        check_range("floor", self.floor, above=0.0, at_most=1.0)
        check_range("updates", self.updates, at_least=1)


class NFT(Method):
    """Fit right completions, and wrong ones by an implicit negative policy.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.feed = replace(self.feed, minibatches=config.updates)
        self.learner = learner

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with the `accuracy` of their prompt, and `right`; [B] each."""
        batch = writer.write(questions).batch
        right = (batch["reward"] >= 1.0).float() * (batch["trust"] > 0)
        accuracy = group_mean(right, batch["group"], (batch["trust"] > 0).float())
        dead = dead_groups(right, batch["group"], batch["trust"])
        return Batch({**batch, "right": right, "accuracy": accuracy.clamp(LEAST, 1.0 - LEAST), "dead": dead})

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over tokens; groups that are all right or all wrong count for nothing."""
        tokens = policy_outputs(self.learner(batch), batch)
        rows, accuracy = tokens.rows, batch["accuracy"]
        scaled = ((1.0 - accuracy) / accuracy).sqrt()
        worth = {"hard": 1.0 - accuracy, "even": torch.ones_like(scaled), "scaled": scaled}[self.config.priority]
        worth = worth * torch.where(batch["right"] > 0, 1.0, self.config.negative)
        worth = worth * (1.0 - batch["dead"]) * (batch["trust"] > 0)
        losses = nft_loss(
            tokens.log_probs - tokens.old_log_probs,
            rows.spread(batch["right"]),
            rows.spread(accuracy),
            floor=self.config.floor,
        )
        return Terms(policy=rows.term(losses * rows.spread(worth)), **tokens.metrics(batch))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All tokens."""
        return rollout_counts(batch, {"policy": "token"})


CLAIM = Claim(
    statement="Learning from wrong completions through a negative policy, as well as from right ones, makes a decoder "
    "right on more held-out sums than fitting right completions alone.",
    arms={
        "nft": {"method": "nft", "updates": 4},
        "right ones alone": {"method": "nft", "updates": 4, "negative": 0.0},
        "grpo": {"method": "grpo", "updates": 4},
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="nft",
    baseline="right ones alone",
    cheap="grpo",
    ablation="right ones alone",
    untaught="untaught",
    smallest_effect=0.02,
    search={
        "nft": {"lr": (1e-4, 3e-4, 1e-3)},
        "right ones alone": {"lr": (1e-4, 3e-4, 1e-3)},
        "grpo": {"lr": (1e-4, 3e-4, 1e-3)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311),
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 80,
        "batch_size": 64,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="Four steps on each round of 256 completions: from the second one on, the gradient is not that of grpo. With "
    "the weight 0, wrong completions are left out, as in the paper's rejection sampling.",
    omits="Models that reach half of the answers by themselves, and longer training.",
    world="addition",
    systems=("bridging-supervised-learning-and-reinforcement-l",),
)
