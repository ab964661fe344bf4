"""The policy's current log-probabilities of sampled tokens, and the losses and metrics of rollouts.

Axis letters: B completions, T positions, N tokens of completions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import TeacherError
from didact.losses.policy.groups import dead_groups, group_advantages, group_sum, step_advantages
from didact.losses.policy.surrogate import clip_mask, ppo_clip_loss
from didact.losses.tokens.rows import CompletionTokens, metric_term, select_tokens, token_counts
from didact.losses.tokens.vocabulary import signal_log_probs, token_log_probs
from didact.types import Batch, Signal, Term, TokenOutput

_SHOWN = {
    "reward": "trust",
    "truth": "",
    "unique": "correct",
    "repetition": "",
    "dead": "",
    "mismatch": "",
    "turns": "",
}
"""Tensors of a batch of rollouts that are metrics, each with the tensor that weights it."""
_OWN = "own"
"""float [B]: 1 for completions of the learner, 0 for those of others, which metrics exclude; without it, all are the
learner's."""


@dataclass(frozen=True, slots=True)
class PolicyOutputs:
    """The tokens of rollouts, with their log-probabilities when they were sampled and now."""

    rows: CompletionTokens
    log_probs: Tensor
    """float [N], current; differentiable. At the temperature at which the completions were sampled, like the others."""
    entropy: Tensor
    """float [N], of the distribution that each token is drawn from, in nats; differentiable."""
    old_log_probs: Tensor
    """float [N], when they were sampled."""
    temperature: Tensor
    """float [N]."""
    importance: Tensor | None = None
    """float [N], the weight of each token; None where the policy that learns sampled them itself."""

    def weighed(self, values: Tensor) -> Tensor:
        """Values [N], each times the importance of its token."""
        return values if self.importance is None else values * self.importance

    def signal_log_probs(self, signal: Signal) -> Tensor:
        """Another model's log-probabilities of the tokens, from its signal [B, T]: float [N]."""
        picked, rows = self.rows.pick_signal(signal), self.rows
        return signal_log_probs(picked, rows.targets, vocabulary=rows.head.vocabulary, temperature=self.temperature)

    def log_ratios(self, *, whole: bool = False) -> Tensor:
        """The log-ratio of the policies now and then of each token: float [N], differentiable.

        Args:
            whole: the mean over the tokens of the completion, at each of them: the log of the ratio of whole
                completions to the power of 1 / length (Zheng et al. 2025, GSPO).
        """
        found = self.log_probs - self.old_log_probs
        return self.rows.spread(self.rows.sums(found) / self.rows.lengths().clamp(min=1.0)) if whole else found

    def ppo_clip_loss(
        self, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2, *, whole: bool = False
    ) -> Tensor:
        """The loss `didact.losses.policy.surrogate.ppo_clip_loss` of each token, from advantages [B] or [B, T]: float
        [N].

        With `whole`, the ratio is that of the whole completion; see `log_ratios`. Each is weighted by the importance of
        its token.
        """
        found = ppo_clip_loss(*self._compared(whole), self._of_tokens(advantage), clip_low, clip_high)
        return self.weighed(found)

    def clip_mask(
        self, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2, *, whole: bool = False
    ) -> Tensor:
        """Mark the tokens whose gradient `ppo_clip_loss` clips: float [N] of 0 and 1."""
        return clip_mask(*self._compared(whole), self._of_tokens(advantage), clip_low, clip_high)

    def _of_tokens(self, advantage: Tensor) -> Tensor:
        """Advantages of completions [B], or of all places [B, T], as those of the tokens [N]."""
        return self.rows.spread(advantage) if advantage.ndim == 1 else self.rows.pick(advantage)

    def _compared(self, whole: bool) -> tuple[Tensor, Tensor]:
        """Two tensors [N] whose difference is the log-ratio."""
        if not whole:
            return self.log_probs, self.old_log_probs
        ratios = self.log_ratios(whole=True)
        return ratios, torch.zeros_like(ratios)

    def metrics(self, batch: Batch, **values: Tensor) -> dict[str, Term]:
        """Metrics of the rollouts, as terms of weight 0.

        Args:
            batch: the rollouts.
            values: further metrics by name, float [N] or [B].
        """
        own = _weight(batch, "")
        spoken = None if own is None else self.rows.spread(own)
        shown = {"entropy": self.rows.metric(self.entropy, spoken), "length": metric_term(self.rows.lengths(), own)}
        for name, weight in _SHOWN.items():
            if name in batch:
                shown[name] = metric_term(batch[name], _weight(batch, weight))
        for name, value in values.items():
            shown[name] = metric_term(value) if len(value) == batch.size else self.rows.metric(value)
        return shown


def add_advantages(
    batch: Batch,
    reward: Tensor | None = None,
    *,
    group: Tensor | None = None,
    baseline: str = "mean",
    scale: bool = True,
    steps: bool = False,
) -> Batch:
    """Add `advantage`, and `dead` (1 where all rewards of the group are equal), to rollouts; both float [B].

    Args:
        batch: verified rollouts.
        reward: float [B], in place of the batch's own.
        group: int64 [B], in place of the prompts: the groups within which rewards are compared.
        baseline: see `group_advantages`; likewise `scale`.
        scale: see `baseline`.
        steps: learn from `step_reward`, by which the advantage is float [B, T]; see `step_advantages`.

    Raises:
        TeacherError: steps are to be learned from, but none was rewarded.
    """
    reward, group = batch["reward"] if reward is None else reward, batch["group"] if group is None else group
    if steps and "step" not in batch:
        raise TeacherError(
            "supervision is 'process', but the verifier rewarded completions as a whole; let it return the end and the "
            "reward of each step, or leave out supervision."
        )
    if steps:
        found = step_advantages(batch["step_reward"], batch["step"], group, batch["trust"], scale=scale)
        dead = group_sum(found.abs().sum(1), group) == 0
        return Batch({**batch, "advantage": found, "dead": dead.float()})
    advantage = group_advantages(reward, group, batch["trust"], baseline=baseline, scale=scale)
    return Batch({**batch, "advantage": advantage, "dead": dead_groups(reward, group, batch["trust"])})


def policy_outputs(output: TokenOutput, batch: Batch) -> PolicyOutputs:
    """Compute the current log-probabilities and entropies of the tokens of rollouts.

    Args:
        output: what the learner returns for the batch now.
        batch: rollouts.
    """
    rows = select_tokens(output, batch)
    temperature = rows.spread(batch["temperature"])
    log_probs, entropy = token_log_probs(rows.hidden, rows.head, rows.targets, temperature=temperature, entropy=True)
    assert entropy is not None
    importance = rows.pick(batch["importance"]) if "importance" in batch else None
    return PolicyOutputs(rows, log_probs, entropy, rows.pick(batch["log_probs"]), temperature, importance)


def rollout_counts(batch: Batch, terms: Mapping[str, str]) -> dict[str, Tensor | float]:
    """The counts of terms and of `PolicyOutputs.metrics`, known from the batch alone.

    Args:
        batch: rollouts.
        terms: by the name of a term, `token` or `sequence`.
    """
    known = token_counts(batch)
    found: dict[str, Tensor | float] = {name: known[by] for name, by in terms.items()}
    found |= {"entropy": known["token"], "length": float(batch.size)}
    if _OWN in batch:
        mask = batch["completion_mask"][:, 1:]
        found |= {"entropy": (mask * batch[_OWN][:, None]).sum(), "length": batch[_OWN].sum()}
    for name, weight in _SHOWN.items():
        if name in batch:
            weighed = _weight(batch, weight)
            found[name] = float(batch.size) if weighed is None else weighed.sum()
    return found


def _weight(batch: Batch, name: str) -> Tensor | None:
    """The weight of each completion in a metric, by the tensor of that name if one is given: [B]; None for equal."""
    if _OWN not in batch:
        return batch[name] if name else None
    return batch[_OWN] * batch[name] if name else batch[_OWN]


def sequence_log_probs(output: TokenOutput, batch: Batch, *, mean: bool = False) -> Tensor:
    """Log-probabilities of whole completions: float [B], differentiable.

    Args:
        output: what a language model returns for the batch.
        batch: with `completion_mask`, and `temperature` [B] where the completions were sampled at one.
        mean: divide them by the number of tokens.
    """
    rows = select_tokens(output, batch)
    temperature = rows.spread(batch["temperature"]) if "temperature" in batch else 1.0
    found = rows.sums(token_log_probs(rows.hidden, rows.head, rows.targets, temperature=temperature)[0])
    return found / rows.lengths().clamp(min=1.0) if mean else found


def mean_token_probs(output: TokenOutput, batch: Batch) -> Tensor:
    """The mean probability that a policy gives the tokens of each row.

    Args:
        output: the policy's.
        batch: with `completion_mask`, which selects the tokens, such as those of the answer after a rationale.

    Returns:
        float [B] in [0, 1]; 0 for a row without such tokens.
    """
    rows = select_tokens(output, batch)
    found = token_log_probs(rows.hidden, rows.head, rows.targets)[0].exp()
    return rows.sums(found) / rows.lengths().clamp(min=1.0)
