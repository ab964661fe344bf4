"""DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models (Shao et al. 2024, GRPO).

Several completions are sampled for each prompt. The advantage of every token of a completion is its reward relative to
the others of its group, in the clipped surrogate of PPO; there is no value network.

Departures: there is no KL term unless `kl` is set, and the loss is averaged over all tokens of a step, as in most of
its successors (DAPO; Yu et al. 2025); `normalise=sequence`, `kl=0.04` and equal clipping bounds are the paper's.

In its claim grpo adds 18 points to supervised fine-tuning, but so does `reinforce`, whose baseline is the mean of the
round: the result shows that rewards teach, not that groups are needed. As many demonstrations add 33. A quarter of the
completions per step taught nothing; see `examples/addition.py` for a larger decoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_choice, check_range
from didact.losses.policy.outputs import add_advantages, policy_outputs, rollout_counts
from didact.losses.policy.surrogate import ClipConfig, k3_kl
from didact.losses.tokens.rows import NORMALISATIONS
from didact.teachers import snapshot
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `grpo`."""

    kl: float = 0.0  # weight of the divergence from the initial model
    normalise: str = "token"  # unit that the loss is averaged over: token, or sequence (all completions weigh alike)
    scale: bool = True  # divide advantages by the standard deviation of their group
    updates: int = 1  # optimizer steps on each round of completions

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("kl", self.kl, at_least=0.0)
        check_choice("normalise", self.normalise, NORMALISATIONS)
        check_range("updates", self.updates, at_least=1)


class GRPO(Method):
    """Learn from rewards relative to other completions of the same prompt.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.feed = replace(self.feed, minibatches=config.updates)
        self.learner = learner
        self.reference = snapshot(learner) if config.kl else None

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage` [B]."""
        return add_advantages(writer.write(questions).batch, scale=self.config.scale)

    def loss(self, batch: Batch) -> Terms:
        """The terms `policy`, and `kl` if there is a reference; the others are metrics."""
        config, by = self.config, self.config.normalise
        tokens = policy_outputs(self.learner(batch), batch)
        terms = Terms(policy=tokens.rows.term(tokens.ppo_clip_loss(batch["advantage"], *config.clip), by=by))
        if self.reference is not None:
            theirs = tokens.signal_log_probs(self.reference.signal(batch))
            terms["kl"] = tokens.rows.term(k3_kl(tokens.log_probs, theirs), by=by).times(config.kl)
        terms |= tokens.metrics(batch, clipped=tokens.clip_mask(batch["advantage"], *config.clip))
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens, or non-empty sequences."""
        by = self.config.normalise
        return rollout_counts(batch, {"policy": by, "kl": by, "clipped": "token"})


CLAIM = Claim(
    statement="A decoder that is right on two of five sums is right on more held-out ones after learning from how its "
    "own completions compare.",
    arms={
        "grpo": "grpo",
        "reinforce": "reinforce",
        "untaught": {"method": "sft", "lr": 1e-9},
        "sft": "sft",
    },
    method="grpo",
    baseline="untaught",
    cheap="reinforce",
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 100,
        "batch_size": 256,
        "lr": 3e-4,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="What exact rewards of 8 completions of each of 32 prompts per step add to supervised fine-tuning; for "
    "comparison, the same completions with the mean of the round as baseline, and as many demonstrations.",
    omits="The paper compares with PPO, on large models and over more completions.",
    world="addition",
    seeds=(200, 201, 202, 203, 204),
    tuned_on=(0, 1),
    tuned="The learning rate of grpo (3e-4, 1e-3, 2e-3) and of reinforce (3e-4, 1e-3); sft has theirs. An earlier "
    "claim, with a quarter of the completions and warm starts of some steps, was looked at on seeds 100 to 104.",
)
