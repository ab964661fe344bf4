"""What first and second tries at a question are paid, and how far they may go from a reference (Kumar et al. 2024).

Axis letters: B tries, P pairs of a first and a second one.
"""

import torch
from torch import Tensor

from didact.losses.policy.groups import group_advantages
from didact.losses.policy.outputs import with_advantages
from didact.types import Batch, Term


def with_second_tries(batch: Batch) -> Batch:
    """Judged tries with what is to be learned from them, all float [B].

    Args:
        batch: P first tries, and then the P second ones to the same, in the same order (B = 2 P).

    Returns:
        The batch with `second` (1 for second tries), `advantage` (the reward less the mean of the other tries of the
        same turn at the same question), `progress` (the same of how much better a second try was rewarded than the
        first; 0 for first tries), `dead`, and for looking at `fixed` and `spoiled` (1 for a second try that is right
        after a wrong one, and the other way round), which `paired` weighs: 1 for second tries where both are known.
    """
    pairs = batch.size // 2
    second = (torch.arange(batch.size) >= pairs).float()
    before = batch["reward"][:pairs].repeat(2)
    known = second * (batch["trust"] > 0) * (batch["trust"][:pairs] > 0).repeat(2)
    _, place = batch["group"].unique(return_inverse=True)
    turn = 2 * place + second.long()
    gain = (batch["reward"] - before) * known
    right, was_right = batch["reward"] >= 1.0, before >= 1.0
    found = with_advantages(batch, group=turn, baseline="leave_one_out", scale=False)
    more = {
        "second": second,
        "progress": group_advantages(gain, turn, known, baseline="leave_one_out", scale=False),
        "fixed": known * (right & ~was_right),
        "spoiled": known * (was_right & ~right),
        "paired": known,
    }
    return Batch({**found, **more})


def second_try_advantages(advantage: Tensor, progress: Tensor, second: Tensor, *, bonus: float, early: bool) -> Tensor:
    """How much each try is to become more likely.

    In the early stage, second tries alone count, for what they are worth. Later both count, and second tries get a
    bonus for progress: with the advantages of r2 + bonus (r2 - r1), since an advantage is linear in the reward.

    Args:
        advantage: float [B]; see `with_second_tries`.
        progress: float [B].
        second: float [B] of 0 and 1.
        bonus: at least 0.
        early: which stage it is.

    Returns:
        float [B].
    """
    return advantage * second if early else advantage + bonus * progress * second


def holding(second: Tensor, *, kl: float, hold: float, early: bool) -> Tensor:
    """How much a departure from the reference costs each try: `kl`, and in the early stage `hold` for first tries.

    Args:
        second: float [B] of 0 and 1.
        kl: at least 0.
        hold: at least 0.
        early: which stage it is.

    Returns:
        float [B].
    """
    return kl + hold * (1.0 - second) if early else torch.full_like(second, kl)


def second_try_figures(batch: Batch) -> dict[str, Term]:
    """Terms without weight that show how second tries went: shares of pairs that were `fixed` and `spoiled`.

    Args:
        batch: of `with_second_tries`.
    """
    paired = batch["paired"]
    return {name: Term((batch[name] * paired).sum(), paired.sum(), 0.0) for name in ("fixed", "spoiled")}
