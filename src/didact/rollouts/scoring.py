"""Log-probabilities of completions under models that do not learn from them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.losses.policy.outputs import policy_outputs, sequence_log_probs
from didact.rollouts.layout import bounded
from didact.types import Batch


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
    return _scored(model, batch, lambda part: sequence_log_probs(model(part), part, mean=mean))


@torch.no_grad()
def score_tokens(model: Any, batch: Batch) -> Tensor:
    """The log-probabilities of the tokens of completions under a model in evaluation mode.

    Args:
        model: a `LanguageLearner`; its mode is restored.
        batch: B rollouts, on any device.

    Returns:
        float32 [B, T], on the CPU; 0 at other tokens. At the temperature at which they were sampled.
    """

    def scored(part: Batch) -> Tensor:
        tokens = policy_outputs(model(part), part)
        found = tokens.log_probs.new_zeros(part["input_ids"].numel())
        found[tokens.rows.position] = (
            tokens.log_probs if tokens.rows.weight is None else tokens.log_probs * tokens.rows.weight
        )
        missing = batch["input_ids"].shape[1] - part["input_ids"].shape[1]
        return F.pad(found.view(part["input_ids"].shape).float(), (0, missing))

    return _scored(model, batch, scored)


def _scored(model: Any, batch: Batch, score: Callable[[Batch], Tensor]) -> Tensor:
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    found = torch.cat([score(part.to(device)).cpu() for part in bounded(batch)])
    model.train(training)
    return found
