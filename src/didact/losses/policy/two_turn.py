"""Advantages and KL weights of two-turn rollouts, whose second turn may correct the first (Kumar et al. 2024).

Axis letters: B completions, P pairs of a first and a second one.
"""

import torch
from torch import Tensor

from didact.losses.policy.groups import group_advantages
from didact.losses.policy.outputs import add_advantages
from didact.types import Batch, Term


def add_two_turn_advantages(batch: Batch) -> Batch:
    """Add the advantages of both turns to verified rollouts; all new tensors are float [B].

    Args:
        batch: P first completions, then the P second ones in the same order (B = 2 P).

    Returns:
        The batch with `second` (1 for second answers), `advantage` (the reward less the mean reward of the other
        answers of the same turn to the same prompt), `progress` (likewise of the second reward less the first; 0 for
        first answers), `dead`, and the metrics `fixed` and `spoiled` (1 for a right second answer after a wrong first
        one, and the reverse), weighted by `paired`: 1 for second answers where both rewards are known.
    """
    pairs = batch.size // 2
    second = (torch.arange(batch.size) >= pairs).float()
    before = batch["reward"][:pairs].repeat(2)
    known = second * (batch["trust"] > 0) * (batch["trust"][:pairs] > 0).repeat(2)
    _, place = batch["group"].unique(return_inverse=True)
    turn = 2 * place + second.long()
    gain = (batch["reward"] - before) * known
    right, was_right = batch["reward"] >= 1.0, before >= 1.0
    found = add_advantages(batch, group=turn, baseline="leave_one_out", scale=False)
    more = {
        "second": second,
        "progress": group_advantages(gain, turn, known, baseline="leave_one_out", scale=False),
        "fixed": known * (right & ~was_right),
        "spoiled": known * (was_right & ~right),
        "paired": known,
    }
    return Batch({**found, **more})


def two_turn_advantages(advantage: Tensor, progress: Tensor, second: Tensor, *, bonus: float, early: bool) -> Tensor:
    """The advantages of a stage of training.

    In the early stage, only second answers have an advantage. Later both have, and second answers get a bonus for
    progress: the advantages of r2 + bonus (r2 - r1), since an advantage is linear in the reward.

    Args:
        advantage: float [B]; see `add_two_turn_advantages`.
        progress: float [B].
        second: float [B] of 0 and 1.
        bonus: at least 0.
        early: which stage it is.

    Returns:
        float [B].
    """
    return advantage * second if early else advantage + bonus * progress * second


def two_turn_kl_weights(second: Tensor, *, kl: float, hold: float, early: bool) -> Tensor:
    """The KL weight of each answer: `kl`, and in the early stage `hold` more for first answers.

    Args:
        second: float [B] of 0 and 1.
        kl: at least 0.
        hold: at least 0.
        early: which stage it is.

    Returns:
        float [B].
    """
    return kl + hold * (1.0 - second) if early else torch.full_like(second, kl)


def two_turn_metrics(batch: Batch) -> dict[str, Term]:
    """Metrics of second answers, as terms of weight 0: the shares of pairs that were `fixed` and `spoiled`.

    Args:
        batch: of `add_two_turn_advantages`.
    """
    paired = batch["paired"]
    return {name: Term((batch[name] * paired).sum(), paired.sum(), 0.0) for name in ("fixed", "spoiled")}
