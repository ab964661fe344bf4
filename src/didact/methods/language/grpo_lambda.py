"""Stable Reinforcement Learning for Efficient Reasoning (Dai, Liu & Si 2025, GRPO-lambda).

A length penalty shortens answers, but may remove the reasoning that makes them right, so that accuracy collapses. Here
the penalty applies only to the prompts of a step with the highest accuracy, a share lambda of them. At all others a
completion earns 0 or 1, whatever its length.

Departures: completions with a full reward count as right, and the others keep their reward; there is no divergence from
a reference, and the loss is averaged over all tokens of a step, as in `grpo`; the default share and strength are not
checked against the paper's.

Compared with no code: none of the authors was found.

Formula: `tests/methods/test_language_rows_a.py::test_grpo_lambda_pays_by_length_where_questions_are_answered_well`.

On `addition:optional_scratchpad`, it is undecided against a tuned "all penalised" (0.0 points, -0.6 to +0.6), and
undecided against "none penalised" (0.0, -0.4 to +0.3); grpo_lambda and all penalised are nearly the same runs: their
figures correlate at 0.992.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.policy.outputs import add_advantages, policy_outputs, rollout_counts
from didact.losses.policy.rewards import penalise_length
from didact.losses.policy.selection import most_accurate_groups
from didact.losses.policy.surrogate import ClipConfig
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `grpo_lambda`."""

    share: float = 0.2  # share of a round's prompts with a length penalty: those of highest accuracy
    strength: float = 0.2  # largest length penalty, as a share of the reward
    updates: int = 1  # optimizer steps on each round of completions

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("share", self.share, at_least=0.0, at_most=1.0)
        check_range("strength", self.strength, at_least=0.0, at_most=1.0)
        check_range("updates", self.updates, at_least=1)


class GRPOLambda(Method):
    """Penalise length at prompts with high accuracy only.

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
        """Rollouts with their `advantage`, and `penalised`, 1 if length counted; [B] each."""
        batch, config = writer.write(questions).batch, self.config
        right = (batch["reward"] >= 1.0).float() * (batch["trust"] > 0)
        chosen = most_accurate_groups(right, batch["group"], config.share)
        length = batch["completion_mask"].sum(1).float()
        paid = penalise_length(batch["reward"], right, length, batch["group"], strength=config.strength, where=chosen)
        return Batch({**add_advantages(batch, paid), "penalised": chosen.float()})

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over tokens; the others are metrics."""
        tokens = policy_outputs(self.learner(batch), batch)
        losses = tokens.ppo_clip_loss(batch["advantage"], *self.config.clip)
        return Terms(policy=tokens.rows.term(losses), **tokens.metrics(batch, penalised=batch["penalised"]))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens, and completions."""
        return {**rollout_counts(batch, {"policy": "token"}), "penalised": float(batch.size)}


CLAIM = Claim(
    statement="A decoder that may use a scratchpad or not is right on more held-out sums if the length penalty "
    "applies only to prompts with high accuracy than if it applies to all prompts.",
    arms={
        "grpo_lambda": "grpo_lambda",
        "all penalised": {"method": "grpo_lambda", "share": 1.0},
        "none penalised": "grpo",
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="grpo_lambda",
    baseline="all penalised",
    cheap="none penalised",
    ablation="all penalised",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "grpo_lambda": {"lr": (3e-4, 1e-3), "strength": (0.2, 1.0)},
        "all penalised": {"lr": (3e-4, 1e-3), "strength": (0.2, 1.0)},
        "none penalised": {"lr": (3e-4, 1e-3)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309),
    settings={
        "student": "warm:60%:decoder:2x64",
        "sampling": "max_new_tokens=24,samples=8",
        "steps": 40,
        "batch_size": 64,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="A right answer without a scratchpad earns more than one with it: at all prompts, at a fifth of them, or at "
    "none.",
    omits="Reasoning that can be shortened by degrees, over longer training; and the length that is saved.",
    world="addition:optional_scratchpad",
    systems=("stable-reinforcement-learning-for-efficient-reas",),
)
