"""How far a label is trusted, by where the loss on it lies among the losses of all examples."""

import math

import torch
from torch import Tensor

_ROUNDS, _SETTLED = 200, 1e-5
"""Of expectation and maximisation: at most, and by how much means move when it is over."""
_WIDER = 9.0
"""By how much the authors widen the variance of right labels when they ask how likely a loss is."""
_LEAST_VARIANCE = 1e-6


@torch.no_grad()
def loss_confidence(losses: Tensor, base: float = 1.6) -> Tensor:
    """The confidence in each label: 1 where its loss is one of right labels, and base^(-loss) where it is not.

    Two Gaussians are fitted to the losses from means of 0 and 1 and variances of 1; that of the lower mean is of right
    labels. With the densities c and w of either at a loss, times their shares, the confidence is
    (c + base^(-loss) w) / (c + w), where c has nine times the fitted variance (Tao et al. 2024, "KADEL: Knowledge-aware
    denoising learning for commit message generation"; `run_gen.py` of DeepSoftwareAnalytics/KADEL).

    Args:
        losses: float [N], from 0 on.
        base: above 1.

    Returns:
        float32 [N] in (0, 1].
    """
    x = losses.double()
    share, mean, variance = (x.new_tensor(pair) for pair in ([0.5, 0.5], [0.0, 1.0], [1.0, 1.0]))
    for _ in range(_ROUNDS):
        belongs = _log_densities(x, share, mean, variance).softmax(1)
        total = belongs.sum(0).clamp(min=torch.finfo(x.dtype).tiny)
        moved = (belongs * x[:, None]).sum(0) / total
        variance = ((belongs * (x[:, None] - moved).square()).sum(0) / total).clamp(min=_LEAST_VARIANCE)
        share, still = total / len(x), (moved - mean).abs().max() < _SETTLED
        mean = moved
        if still:
            break
    right = mean.argmin()
    wide = variance.clone()
    wide[right] *= _WIDER
    chances = _log_densities(x, share, mean, wide).softmax(1)
    chance = chances[:, right]
    return (chance + base ** (-x) * (1.0 - chance)).float()


def _log_densities(x: Tensor, share: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The log-density of each number [N] under both Gaussians, times their shares; float64 [N, 2]."""
    squared = (x[:, None] - mean).square()
    return share.log() - 0.5 * (2.0 * math.pi * variance).log() - 0.5 * squared / variance
