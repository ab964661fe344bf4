"""DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models (Shao et al. 2024, GRPO).

Several completions are sampled for each prompt. The advantage of every token of a completion is its reward relative to
the others of its group, in the clipped surrogate of PPO; there is no value network.

Departures: there is no KL term unless `kl` is set, and the loss is averaged over all tokens of a step, as in most of
its successors; `normalise=sequence`, `kl=0.04` and equal clipping bounds are the paper's, and so is its other kind of
supervision, by the rewards of steps (section 4.1.3): `supervision=process`. Successors are options: Dr. GRPO (Liu et
al. 2025) is `normalise=constant,scale=false`; DAPO (Yu et al. 2025) is `clip_high=0.28,redraw=10` with
`overlong=punish` or `overlong=mask` (its new prompts come from the whole training data); GSPO (Zheng et al. 2025) is
`ratio=sequence,normalise=sequence,clip_low=0.0003,clip_high=0.0004`. Compared with trl/trainer/grpo_trainer.py of
huggingface/trl, as the authors' code is not public: the surrogate, the KL, advantages, normalisations and defaults
agree. It adds 1e-4 to the deviation, and only here do the weights for an engine's rounding apply to the KL, too. Values
and gradients: `tests/methods/test_language_rewards.py::test_grpo`.

On `addition`, it is undecided against a tuned `reinforce` (+0.3 points, -0.3 to +0.8), and worse than `sft` by 15.5
(10.0 to 21.0); grpo and reinforce are nearly the same runs: their figures correlate at 0.996.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_choice, check_range
from didact.losses.policy.outputs import PolicyOutputs, add_advantages, policy_outputs, rollout_counts
from didact.losses.policy.rewards import overlong_penalty
from didact.losses.policy.surrogate import ClipConfig, k3_kl
from didact.losses.tokens.rows import NORMALISATIONS, token_counts
from didact.rollouts import write_live
from didact.rollouts.writer import TURNS
from didact.teachers import snapshot
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `grpo`."""

    kl: float = 0.0  # weight of the divergence from the initial model
    ratio: Literal["token", "sequence"] = "token"  # of the policies: of each token, or the completion's, per token
    normalise: str = (
        "token"  # the loss is averaged over: token, sequence (all weigh alike), constant (the longest length)
    )
    scale: bool = True  # divide advantages by the standard deviation of their group
    supervision: Literal["outcome", "process"] = "outcome"  # rewards of whole completions, or of their steps
    redraw: int = 0  # times that prompts whose rewards are all equal are replaced by others in a round
    overlong: Literal["keep", "mask", "punish"] = "keep"  # truncated completions: nothing, not in the loss, less reward
    soft: float = 0.2  # punish: the last share of the largest length, in which the reward falls by up to 1
    updates: int = 1  # optimizer steps on each round of completions

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("kl", self.kl, at_least=0.0)
        check_choice("normalise", self.normalise, NORMALISATIONS)
        check_range("redraw", self.redraw, at_least=0, below=TURNS)
        check_range("soft", self.soft, above=0.0, at_most=1.0)
        check_range("updates", self.updates, at_least=1)
        if self.supervision == "process" and (self.redraw or self.overlong == "punish"):
            raise ConfigError("supervision is 'process', which has no reward to redraw or punish by; leave these out.")


class GRPO(Method):
    """Learn from rewards relative to other completions of the same prompt.

    Args:
        config: the options.
        learner: a causal language model.
        questions: the training prompts; only with `redraw`.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, off_policy="weighted", grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner, questions: Any = ()) -> None:
        self.config, self.learner, self.pool = config, learner, questions if config.redraw else ()
        self.feed = replace(self.feed, minibatches=config.updates, steps=config.supervision == "process")
        self.reference = snapshot(learner) if config.kl else None

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage` [B] or [B, T]; `keep` [B] is 0 for those that the loss leaves out."""
        config = self.config
        batch = write_live(writer, questions, self.pool, tries=config.redraw).batch
        reward, more = batch["reward"], dict[str, Tensor]()
        if config.overlong == "punish":
            lengths = batch["completion_mask"].sum(1)
            reward = reward + overlong_penalty(lengths, writer.sampling.max_new_tokens, config.soft)
        batch = add_advantages(batch, reward, scale=config.scale, steps=config.supervision == "process")
        if config.normalise == "constant":
            more["longest"] = torch.full((batch.size,), float(writer.sampling.max_new_tokens))
        if config.redraw:
            more["keep"] = 1.0 - batch["dead"]
        if config.overlong == "mask":
            more["keep"] = more.get("keep", 1.0) * batch["finished"].float()
        return Batch({**batch, **more})

    def loss(self, batch: Batch) -> Terms:
        """The terms `policy`, and `kl` if there is a reference; the others are metrics."""
        config, whole = self.config, self.config.ratio == "sequence"
        tokens = policy_outputs(self.learner(batch), batch)
        terms = Terms(
            policy=self._term(batch, tokens, tokens.ppo_clip_loss(batch["advantage"], *config.clip, whole=whole))
        )
        if self.reference is not None:
            theirs = tokens.signal_log_probs(self.reference.signal(batch))
            terms["kl"] = self._term(batch, tokens, tokens.weighed(k3_kl(tokens.log_probs, theirs))).times(config.kl)
        terms |= tokens.metrics(batch, clipped=tokens.clip_mask(batch["advantage"], *config.clip, whole=whole))
        return terms

    def _term(self, batch: Batch, tokens: PolicyOutputs, values: Tensor) -> Term:
        """Values [N] as a term, without the completions that are left out."""
        weight = tokens.rows.spread(batch["keep"]) if "keep" in batch else None
        longest = batch["longest"] if "longest" in batch else None  # noqa: SIM401
        return tokens.rows.term(values, by=self.config.normalise, weight=weight, longest=longest)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens, non-empty sequences, or largest lengths."""
        keep = batch["keep"] if "keep" in batch else None  # noqa: SIM401
        counted = token_counts(batch, keep)[self.config.normalise]
        return {**rollout_counts(batch, {"clipped": "token"}), "policy": counted, "kl": counted}


CLAIM = Claim(
    statement="A decoder that is right on two of five sums is right on more held-out ones if each of its completions "
    "is compared with others of its prompt than if all are compared with the mean of the round.",
    arms={"grpo": "grpo", "reinforce": "reinforce", "sft": "sft", "untaught": "sft,lr=1e-9,batch_size=1"},
    method="grpo",
    baseline="reinforce",
    cheap="sft",
    ablation="reinforce",
    untaught="untaught",
    smallest_effect=0.02,
    search={"grpo": {"lr": (2e-4, 5e-4, 1e-3)}, "reinforce": {"lr": (2e-4, 5e-4, 1e-3)}, "sft": {"lr": (1e-3, 3e-3)}},
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311),
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 50,
        "batch_size": 128,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="The same completions, with advantages within prompts or within rounds; and as many demonstrations.",
    omits="The paper compares with PPO, on large models and over more completions.",
    world="addition",
)
