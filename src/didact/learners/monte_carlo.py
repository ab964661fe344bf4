"""Monte-Carlo dropout: how a net's answers vary when parts of its features are missing."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.errors import check_range


@torch.no_grad()
def dropped_scores(head: nn.Linear, hidden: Tensor, *, passes: int, rate: float) -> Tensor:
    """Class probabilities under dropout of the head's input (Gal & Ghahramani 2016), which any net with a head has.

    Args:
        head: the last linear layer.
        hidden: float [B, D], its input.
        passes: how often the features are dropped, M, at least 2; by torch's generator.
        rate: in (0, 1), the share of features that are dropped; the others are divided by 1 - rate.

    Returns:
        float32 [M, B, C], without a gradient.

    Raises:
        ConfigError: a value out of range.
    """
    check_range("passes", passes, at_least=2)
    check_range("rate", rate, above=0.0, below=1.0)
    copies = hidden.float().expand(passes, *hidden.shape)
    return head(F.dropout(copies, rate)).float().softmax(-1)
