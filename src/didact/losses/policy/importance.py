"""Importance weights of tokens that other weights, or other arithmetic, sampled.

Axis letters: B completions, T positions.
"""

from typing import Literal

from torch import Tensor

from didact.errors import check_choice, check_range

Correction = Literal["sequence_mask", "sequence_truncate", "token_mask", "token_truncate"]
CORRECTIONS = ("sequence_mask", "sequence_truncate", "token_mask", "token_truncate")


def importance_weights(
    log_probs: Tensor, sampled: Tensor, mask: Tensor, correction: Correction = "sequence_mask", cap: float = 3.0
) -> Tensor:
    """The ratios of the policy's probabilities to those with which tokens were sampled, bounded.

    A loss of tokens that another distribution sampled is unbiased if each token is weighted by the ratio of the
    probabilities of the tokens up to it; bounds keep its variance finite (Yao et al. 2025, "Your efficient RL framework
    secretly brings you off-policy RL training"; TRL's `vllm_importance_sampling_correction`, whose four modes and
    default cap these are).

    Args:
        log_probs: float [B, T], of the policy that learns.
        sampled: float [B, T], when they were sampled.
        mask: bool [B, T], the sampled tokens.
        correction: `token_*` takes the ratio of each token, `sequence_*` that of the whole completion for all of its
            tokens; `*_truncate` lowers greater ratios to the cap, `*_mask` sets them to 0.
        cap: at least 1.

    Returns:
        float [B, T], in [0, cap]; 0 outside the mask.

    Raises:
        ConfigError: an unknown correction, or a cap out of its range.
    """
    check_choice("correction", correction, CORRECTIONS)
    check_range("cap", cap, at_least=1.0)
    logs = (log_probs - sampled).masked_fill(~mask, 0.0)
    if correction.startswith("sequence"):
        logs = logs.sum(1, keepdim=True).expand_as(logs)
    ratio = logs.exp()
    kept = ratio.clamp(max=cap) if correction.endswith("truncate") else ratio.masked_fill(ratio > cap, 0.0)
    return kept.masked_fill(~mask, 0.0)
