"""Mixtures of examples."""

import torch
from torch import Tensor


def mix_examples(x: Tensor, target: Tensor, concentration: float) -> tuple[Tensor, Tensor]:
    """Mix each example with another one, itself being the larger part, as in MixMatch (Berthelot et al. 2019).

    One share for all is drawn from a Beta distribution, and the partners are a random order of the examples, both from
    the global generator.

    Args:
        x: float [B, ...], inputs.
        target: float [B, C], probabilities.
        concentration: above 0, both parameters of the Beta distribution.

    Returns:
        The mixtures of both.
    """
    share = torch.distributions.Beta(concentration, concentration).sample().to(x.device)
    share = torch.maximum(share, 1.0 - share)
    order = torch.randperm(len(x), device=x.device)
    return share * x + (1.0 - share) * x[order], share * target + (1.0 - share) * target[order]
