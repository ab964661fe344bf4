"""What a policy says now of the tokens that it chose, for methods that learn from attempts.

Axis letters: B attempts, T positions, N tokens of attempts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from didact.losses.policy.groups import dead_groups, group_advantages
from didact.losses.policy.surrogate import clipped_share, surrogate
from didact.losses.tokens.rows import Rows, row_counts, select, watched
from didact.losses.tokens.vocabulary import signal_log_probs, token_log_probs
from didact.types import Batch, Signal, Term, TokenOutput

_SHOWN = {"reward": "trust", "truth": "", "unique": "correct", "repetition": "", "dead": ""}
"""What batches of attempts hold to be looked at, with the tensor that weighs it."""
_OWN = "own"
"""Float [B]: 1 for attempts of the learner, 0 for rows of others, of which figures do not tell; all are the learner's
where it is missing."""


@dataclass(frozen=True, slots=True)
class Acted:
    """The tokens of attempts, then and now."""

    rows: Rows
    log_probs: Tensor
    """float [N], now; differentiable. At the temperature at which the attempts were sampled, as all that follows."""
    entropy: Tensor
    """float [N], of the distribution that each token is drawn from, in nats; differentiable."""
    old_log_probs: Tensor
    """float [N], when they were sampled."""
    temperature: Tensor
    """float [N]."""

    def log_probs_by(self, signal: Signal) -> Tensor:
        """Another model's log-probabilities of the tokens, from what it says at every position [B, T]: float [N]."""
        said, rows = self.rows.pick_signal(signal), self.rows
        return signal_log_probs(said, rows.targets, vocabulary=rows.head.vocabulary, temperature=self.temperature)

    def surrogate(self, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2) -> Tensor:
        """The loss of `didact.losses.surrogate` at each token, from the advantages [B] of attempts: float [N]."""
        return surrogate(self.log_probs, self.old_log_probs, self.rows.spread(advantage), clip_low, clip_high)

    def clipped(self, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2) -> Tensor:
        """Which tokens' gradient `surrogate` has cut off: float [N] of 0 and 1."""
        return clipped_share(self.log_probs, self.old_log_probs, self.rows.spread(advantage), clip_low, clip_high)

    def figures(self, batch: Batch, **values: Tensor) -> dict[str, Term]:
        """Terms without weight that show how the attempts went.

        Args:
            batch: of the attempts.
            values: further figures by name, float [N] or [B].
        """
        own = _weight(batch, "")
        spoken = None if own is None else self.rows.spread(own)
        shown = {"entropy": self.rows.watched(self.entropy, spoken), "length": watched(self.rows.lengths(), own)}
        for name, weight in _SHOWN.items():
            if name in batch:
                shown[name] = watched(batch[name], _weight(batch, weight))
        for name, value in values.items():
            shown[name] = watched(value) if len(value) == batch.size else self.rows.watched(value)
        return shown


def with_advantages(
    batch: Batch,
    reward: Tensor | None = None,
    *,
    group: Tensor | None = None,
    baseline: str = "mean",
    scale: bool = True,
) -> Batch:
    """Attempts with their `advantage`, and `dead` (1 where nothing in the group differs), both float [B].

    Args:
        batch: of attempts that were judged.
        reward: float [B] in the place of the batch's own.
        group: int64 [B] in the place of the questions: what is compared with what.
        baseline: see `group_advantages`; likewise `scale`.
        scale: see `baseline`.
    """
    reward, group = batch["reward"] if reward is None else reward, batch["group"] if group is None else group
    advantage = group_advantages(reward, group, batch["trust"], baseline=baseline, scale=scale)
    return Batch({**batch, "advantage": advantage, "dead": dead_groups(reward, group, batch["trust"])})


def acted(output: TokenOutput, batch: Batch) -> Acted:
    """Look again at the tokens of attempts.

    Args:
        output: what the learner returns for the batch now.
        batch: of attempts; see `Batch`.
    """
    rows = select(output, batch)
    warmth = rows.spread(batch["temperature"])
    log_probs, entropy = token_log_probs(rows.hidden, rows.head, rows.targets, temperature=warmth, entropy=True)
    assert entropy is not None
    return Acted(rows, log_probs, entropy, rows.pick(batch["log_probs"]), warmth)


def attempt_counts(batch: Batch, terms: Mapping[str, str]) -> dict[str, Tensor | float]:
    """What terms and the figures of `Acted.figures` are divided by, known from the batch alone.

    Args:
        batch: of attempts.
        terms: by the name of a term, `token` or `sequence`.
    """
    known = row_counts(batch)
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
    """How much each attempt counts in a figure that a tensor weighs, where a name is given: [B]; None for all alike."""
    if _OWN not in batch:
        return batch[name] if name else None
    return batch[_OWN] * batch[name] if name else batch[_OWN]


def answer_log_probs(output: TokenOutput, batch: Batch) -> Tensor:
    """Log-probabilities of whole answers: float [B], differentiable.

    Args:
        output: what a language model returns for the batch.
        batch: with `completion_mask`, and `temperature` [B] where the answers were sampled at one.
    """
    rows = select(output, batch)
    warmth = rows.spread(batch["temperature"]) if "temperature" in batch else 1.0
    return rows.sums(token_log_probs(rows.hidden, rows.head, rows.targets, temperature=warmth)[0])


def comprehension(output: TokenOutput, batch: Batch) -> Tensor:
    """How well a policy knows what is to come: the mean probability that it gives the tokens of each row.

    Args:
        output: the policy's.
        batch: with `completion_mask`, the tokens that are looked at, such as those of the right answer behind a worked
            one.

    Returns:
        float [B] in [0, 1]; 0 for a row without such tokens.
    """
    rows = select(output, batch)
    found = token_log_probs(rows.hidden, rows.head, rows.targets)[0].exp()
    return rows.sums(found) / rows.lengths().clamp(min=1.0)
