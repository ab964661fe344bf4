"""RL with KL Penalties is Better Viewed as Bayesian Inference (Korbak, Perez & Buckley 2022).

A reward is evidence that updates the initial model pi0 to a posterior, pi*(x) proportional to pi0(x) exp(r(x) / beta).
Maximising reward alone collapses the policy onto one answer; approaching pi* does not. The divergence is a choice of
its own: `reverse` is reinforcement learning with a KL penalty, and `forward` is distributional policy gradients
(Khalifa, Elsahar & Dymetman 2021, GDC), which weigh each completion by how much likelier it is under pi*.

Departures: each prompt has a target and a Z of its own (Korbak et al. 2022, CDPG), estimated from the completions of
the round, or with `normaliser=running` from those of earlier rounds too; completions are sampled from the policy
itself, where GDC has a proposal that follows it; `reverse` is `rloo` with its `kl` set to beta, whose gradient is
divided by beta. Compared with pointwise_gdc.py of naver/gdc (in cdpg/ and rm_vs_dm/): the weights of `forward`, the
mean over completions, and each prompt's Z agree. There Z divides the weights or is their baseline; here it is both. Its
`reverse` is PPO with a value network. Values and gradients:
`tests/methods/test_language_posterior.py::test_the_loss_is_that_of_whole_attempts`.

On `choosing`, it is better than a tuned `rloo` by 0.049 nats (0.028 to 0.070), equivalent to "untaught" (-0.0339,
-0.0384 to -0.0294), and better than itself without its mechanism ("rewards decide") by 0.67 (0.59 to 0.75).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_choice, check_range
from didact.losses.policy.outputs import policy_outputs, rollout_counts
from didact.losses.policy.posterior import log_normaliser, posterior_advantages, posterior_log_ratio, running_log_mean
from didact.memory import Index, PerExample
from didact.rollouts import score_completions
from didact.teachers import snapshot
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `posterior`."""

    beta: float = 0.1  # reward per nat of divergence; towards 0, rewards alone count
    divergence: Literal["reverse", "forward"] = "reverse"  # KL(policy || posterior), or KL(posterior || policy)
    normaliser: Literal["round", "running"] = (
        "round"  # for forward: completions that estimate each prompt's Z, the latest or all
    )

    def __post_init__(self) -> None:
        check_range("beta", self.beta, above=0.0)
        check_choice("divergence", self.divergence, ("reverse", "forward"))
        check_choice("normaliser", self.normaliser, ("round", "running"))


class Posterior(Method):
    """Approach the posterior of the initial model given the rewards.

    Args:
        config: the options.
        learner: a causal language model.
        questions: the training prompts.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        self.config = config
        self.learner = learner
        self.reference = snapshot(learner)
        ids = torch.tensor([question.id for question in questions])
        kept = config.normaliser == "running"
        # A single completion is enough if Z is known from earlier rounds.
        self.feed = replace(self.feed, grouped=not (kept and config.divergence == "forward"))
        self.index = Index(ids) if kept else None
        columns = {"log_mean": torch.float64, "times": torch.float64}
        self.running = PerExample(len(ids), dict.fromkeys(columns, ()), dtypes=columns) if kept else None

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage`, and the `departure` from the initial model in nats per token; [B] each."""
        config, batch = self.config, writer.write(questions).batch
        mine, theirs, trust = (
            batch["log_probs"].sum(1),
            score_completions(self.reference.learner, batch),
            batch["trust"],
        )
        ratio = posterior_log_ratio(mine, theirs, batch["reward"], config.beta)
        normaliser = log_normaliser(ratio, batch["group"], trust)
        if self.index is not None and self.running is not None:
            normaliser = self._mean_of_rounds(self.index, self.running, batch["group"], normaliser)
        advantage = posterior_advantages(
            ratio, batch["group"], trust, divergence=config.divergence, normaliser=normaliser
        )
        departure = (mine - theirs) / batch["completion_mask"].sum(1).clamp(min=1)
        return Batch({**batch, "advantage": advantage, "departure": departure})

    def _mean_of_rounds(self, index: Index, running: PerExample, ids: Tensor, normaliser: Tensor) -> Tensor:
        """Log Z of each prompt [B] over the rounds so far, which now include the latest."""
        rows = index.rows(ids.to(index.device))
        before = running.get(rows, "log_mean"), running.get(rows, "times")
        log_mean, times = running_log_mean(*before, normaliser.to(rows.device))
        running.put(rows, "log_mean", log_mean)
        running.put(rows, "times", times)
        return log_mean.to(normaliser.device)

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over completions; the others are metrics, `kl` in nats per token."""
        tokens = policy_outputs(self.learner(batch), batch)
        log_probs = tokens.rows.sums(tokens.log_probs)
        losses = -(log_probs * batch["advantage"])
        policy = Term(losses.sum(), batch.size, rows=losses)
        return Terms(policy=policy, **tokens.metrics(batch, kl=batch["departure"]))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The completions."""
        return {"policy": batch.size, "kl": batch.size, **rollout_counts(batch, {})}


CLAIM = Claim(
    statement="After as many completions, the data's completions, each one of many that are right, are likelier under "
    "a policy that approaches the posterior than under one that learns from rewards alone.",
    arms={
        "posterior": "posterior",
        "rloo": "rloo",
        "rewards decide": {"method": "posterior", "beta": 0.001},
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="posterior",
    baseline="rloo",
    cheap="untaught",
    ablation="rewards decide",
    smallest_effect=0.05,
    search={
        "posterior": {"lr": (2e-4, 5e-4), "beta": (0.1, 0.3, 1.0)},
        "rloo": {"lr": (5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311),
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 40,
        "batch_size": 128,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="Where 20 answers earn the same, rewards alone end at a few of them; all, as likely, are 0.75 nats a token.",
    omits="Rewards that are learned from preferences, which a collapsed policy exploits; answers of some length.",
    world="choosing",
    metric="nll",
    systems=("rl-with-kl-penalties-is-better",),
)
