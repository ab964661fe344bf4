"""Log-probabilities of whole completions under models that do not learn from them."""

from typing import Any

import torch
from torch import Tensor

from didact.losses.policy.outputs import sequence_log_probs
from didact.types import Batch

_ROWS = 64
"""How many completions a model reads at once."""


@torch.no_grad()
def score_completions(model: Any, batch: Batch, *, mean: bool = False) -> Tensor:
    """The log-probabilities of completions under a model in evaluation mode.

    Args:
        model: a `LanguageLearner`; its mode is restored.
        batch: B completions, on any device.
        mean: divide them by the number of tokens.

    Returns:
        float [B], on the CPU.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    parts = (part.to(device) for part in batch.split(_ROWS))
    found = torch.cat([sequence_log_probs(model(part), part, mean=mean).cpu() for part in parts])
    model.train(training)
    return found
