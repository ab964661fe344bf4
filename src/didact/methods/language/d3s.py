"""Learning More with Less: A Dynamic Dual-Level Down-Sampling Framework (Wang et al. 2026, D3S).

Each step keeps the completions whose advantages have the highest variance, and of their tokens those with the highest
product of the advantage's magnitude and the policy's entropy. The shares that are kept start small and grow to 1.

Departures: completions are compared across the groups of a step; the shares grow linearly with the budget and reach 1
when it is used up; the initial shares are not the paper's; `choose=random` keeps as many completions and tokens, chosen
at random.

Compared with no code: none of the authors was found; the paper has theirs in its supplement.

Formula: `tests/methods/test_language_rows_a.py::test_d3s_learns_from_what_tells_most`.

On `choosing`, it is undecided against a tuned `grpo` (+0.7 points, -3.8 to +5.3), undecided against `sft` (-0.1, -6.4
to +6.3), and undecided against itself without its mechanism ("any of them") (+14.9, +7.2 to +22.7). Training takes 0.3
times the operations of the baseline.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.policy.outputs import add_advantages, policy_outputs
from didact.losses.policy.selection import informative_tokens, max_variance_subset
from didact.losses.policy.surrogate import ClipConfig
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `d3s`."""

    completions: float = 0.5  # initial share of a step's completions that is kept; it grows to 1
    tokens: float = 0.8  # initial share of their tokens that is kept; it grows to 1
    choose: Literal["informative", "random"] = "informative"  # which are kept: the most informative, or random ones
    updates: int = 1  # optimizer steps on each round of completions

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("completions", self.completions, above=0.0, at_most=1.0)
        check_range("tokens", self.tokens, above=0.0, at_most=1.0)
        check_range("updates", self.updates, at_least=1)


class D3S(Method):
    """Learn from the most informative completions and tokens, and at the end from all.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(
        rewards="verifier",
        rate=0.1,
        grouped=True,
        coupled=True,
        alone="it chooses completions and tokens among the whole batch",
    )

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.feed = replace(self.feed, minibatches=config.updates)
        self.learner = learner

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage` [B]."""
        return add_advantages(writer.write(questions).batch)

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over the kept tokens; `kept` is their share of the kept completions.

        The metrics `entropy` and `length` are of the kept completions, the others of all.
        """
        config, every = self.config, batch
        chosen = self._completions(every)
        batch = every.select(chosen)
        tokens = policy_outputs(self.learner(batch), batch)
        rows, advantage = tokens.rows, tokens.rows.spread(batch["advantage"])
        kept = self._tokens(advantage, tokens.entropy, rows.weight)
        losses = tokens.ppo_clip_loss(batch["advantage"], *config.clip)
        return Terms(policy=rows.term(losses, weight=kept), **tokens.metrics(every, kept=kept))

    def _share(self, first: float) -> float:
        """The current value of a share that started at `first`."""
        return first + self.fraction * (1.0 - first)

    def _completions(self, batch: Batch) -> Tensor:
        """Indices of the kept completions."""
        count = math.ceil(self._share(self.config.completions) * batch.size)
        if self.config.choose == "random":
            return torch.randperm(batch.size, device=batch["advantage"].device)[:count]
        return max_variance_subset(batch["advantage"], count)

    def _tokens(self, advantage: Tensor, entropy: Tensor, weight: Tensor | None) -> Tensor:
        """Mask of the kept tokens: float [N]."""
        share = self._share(self.config.tokens)
        if self.config.choose == "random":
            return informative_tokens(torch.ones_like(advantage), torch.rand_like(advantage), share, weight)
        return informative_tokens(advantage, entropy, share, weight)


CLAIM = Claim(
    statement="A model that learns from the most informative completions and tokens is right more often after as many "
    "steps than one that learns from all of them.",
    arms={
        "d3s": "d3s",
        "grpo": "grpo",
        "any of them": {"method": "d3s", "choose": "random"},
        "sft": "sft",
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="d3s",
    baseline="grpo",
    cheap="sft",
    ablation="any of them",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "d3s": {"completions": (0.25, 0.5), "lr": (0.001, 0.003, 0.01)},
        "grpo": {"lr": (0.0003, 0.001, 0.002, 0.003, 0.005, 0.01)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319),
    settings={
        "student": "warm:30%:decoder:1x32",
        "sampling": {"max_new_tokens": 4, "samples": 8},
        "batch_size": 128,
        "steps": 30,
        "warmup": 0.1,
        "evaluate_every": 1000,
    },
    equal="steps",
    world="choosing",
    shows="The same completions are sampled; a part of them and most of their tokens count at first, all at last.",
    omits="Long answers, where few tokens matter, and the time that is saved by not learning from the others.",
    systems=("learning-more-with-less",),
)
