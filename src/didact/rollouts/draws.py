"""Sampling of tokens from scores: counter-based random numbers, truncation, and inversion of the distribution.

A uniform number is a hash of its purpose (seed, prompt, visit, sample, position), and becomes a token by the inverse of
the cumulative distribution. A completion therefore does not depend on what else is sampled with it, nor on
interruptions of the run. Axis letters: S sequences that are written at once, V vocabulary, M completions.
"""

import math

import torch
from torch import Tensor

from didact import hashing
from didact.rollouts.sampling import Sampling

# 2^64 over the golden ratio, as an int64: SplitMix64's step from one number to the next (Steele, Lea and Flood 2014).
_STEP = 0x9E3779B97F4A7C15 - 2**64


def rollout_keys(ids: Tensor, *, seed: int, visit: int, samples: int) -> Tensor:
    """The keys from which the random numbers of each completion are derived.

    Args:
        ids: int64 [P], of the prompts.
        seed: of the run.
        visit: the number of times that these prompts were sampled before.
        samples: the number of completions per prompt.

    Returns:
        int64 [P * samples], those of the first prompt first.
    """
    prompts = hashing.keyed_hash(ids, seed, f"attempts:{visit}")
    numbers = torch.arange(1, samples + 1, device=ids.device) * _STEP
    return hashing.mix(prompts[:, None] + numbers).flatten()


def uniforms(keys: Tensor, length: int) -> Tensor:
    """The uniform numbers of completions, one per position.

    Args:
        keys: int64 [M], of `rollout_keys`.
        length: the number of positions, T.

    Returns:
        float64 [M, T] in [0, 1).
    """
    counters = torch.arange(1, length + 1, device=keys.device) * _STEP
    return hashing.logical_shift(hashing.mix(keys[:, None] + counters), 11).double() * 2.0**-53


def allowed_tokens(log_probs: Tensor, sampling: Sampling) -> Tensor | None:
    """The tokens that `top_k`, `top_p` and `min_p` allow, including ties with the last of them.

    Args:
        log_probs: [S, V], at the sampling temperature.
        sampling: the options.

    Returns:
        bool [S, V], or None if all are allowed.
    """
    floors = []
    count = min(sampling.top_k or log_probs.shape[-1], log_probs.shape[-1])
    if sampling.top_k or sampling.top_p < 1.0:
        best = log_probs.topk(count, dim=-1).values
        floors.append(best[..., -1:] if sampling.top_p == 1.0 else _nucleus_floor(best, sampling.top_p))
    if sampling.min_p > 0.0:
        floors.append(log_probs.amax(-1, keepdim=True) + math.log(sampling.min_p))
    if not floors:
        return None
    return log_probs >= (floors[0] if len(floors) == 1 else torch.maximum(*floors))


def _nucleus_floor(best: Tensor, top_p: float) -> Tensor:
    """The lowest log-probability [S, 1] in the nucleus of log-probabilities [S, K] in descending order."""
    weights = best.softmax(-1)
    inside = weights.cumsum(-1) - weights < top_p
    return best.gather(-1, inside.sum(-1, keepdim=True) - 1)


def sample_index(weights: Tensor, chance: Tensor) -> Tensor:
    """The token at which the cumulative weight first exceeds a share of the total.

    Args:
        weights: [S, V], at least 0, not all 0 in a row; need not sum to 1.
        chance: float64 [S] in [0, 1).

    Returns:
        int64 [S]; never a token of weight 0.
    """
    cumulative = weights.cumsum(-1)
    total = cumulative[:, -1:]
    # Rounded to float32, a number below 1 may become 1, which selects the last token of weight above 0.
    goal = torch.minimum((chance[:, None] * total).to(total.dtype), total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, goal, right=True)[:, 0]


def sample_tokens(scores: Tensor, chance: Tensor | None, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Sample a token from each row of scores.

    Args:
        scores: [S, V].
        chance: float64 [S] in [0, 1); None for greedy sampling.
        sampling: the options.

    Returns:
        The tokens, int64 [S], and their log-probabilities, float32 [S], at the temperature (1 where it is 0), before
        truncation.
    """
    scores = scores.float()
    if chance is None:
        tokens = scores.argmax(-1)
        return tokens, _log_prob(scores.log_softmax(-1), tokens)
    log_probs = (scores if sampling.temperature == 1.0 else scores / sampling.temperature).log_softmax(-1)
    left = allowed_tokens(log_probs, sampling)
    weights = log_probs.exp()
    tokens = sample_index(weights if left is None else weights.masked_fill_(~left, 0.0), chance)
    return tokens, _log_prob(log_probs, tokens)


def _log_prob(log_probs: Tensor, tokens: Tensor) -> Tensor:
    return log_probs.gather(-1, tokens[:, None])[:, 0]
