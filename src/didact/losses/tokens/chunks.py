"""Likelihoods of chunks of text, by which models with different tokenizers can be compared.

Axis letters: B rows, T positions, N tokens, C chunks (at most T a row).
"""

import torch
from torch import Tensor

from didact.errors import check_range
from didact.losses.tokens.rows import TokenPositions

LEAST_SURPRISE = 1e-6
"""The lowest surprisal of a chunk, in nats, so that the logarithm of one minus its probability is finite."""


def chunk_sums(rows: TokenPositions, values: Tensor, chunk: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Sum values within the chunks of each row.

    Args:
        rows: the tokens of `values`.
        values: float [N], differentiable; log-probabilities give those of whole chunks, by the chain rule.
        chunk: int64 [B, T], the number of the chunk that each token is in, from 1; 0 for none.
        width: the largest number of chunks in a row, C; those beyond it are left out.

    Returns:
        The sums, float [B, C], and bool [B, C]: which chunks have a token.
    """
    number = rows.pick(chunk)
    counted = (number > 0) & (number <= width)
    if rows.weight is not None:
        counted = counted & (rows.weight > 0)
    place = rows.row * width + (number - 1).clamp(0, width - 1)
    sums = values.new_zeros(rows.size * width).index_add(0, place, torch.where(counted, values, 0.0))
    there = torch.zeros(rows.size * width, device=values.device).index_add(0, place, counted.float())
    return sums.view(rows.size, width), there.view(rows.size, width) > 0


def binarised_kl(log_probs: Tensor, teacher_log_probs: Tensor, *, temperature: float = 100.0) -> Tensor:
    """The binarised KL divergence between likelihoods of chunks (Minixhofer et al. 2025, "ALM").

    The set of possible chunks is infinite; the observed one, and any other, are two outcomes. With p and q the
    probabilities of teacher and student to the power of 1 / temperature, the loss is temperature times
    p log(p / q) + (1 - p) log((1 - p) / (1 - q)). The temperature as a factor, which the paper does not have, keeps its
    scale: for high temperatures it is b - a + a log(a / b) for surprisals of a nats for the teacher and b for the
    student.

    Args:
        log_probs: the student's, float, at most 0; differentiable.
        teacher_log_probs: of the same shape; no gradient flows into them.
        temperature: above 0; the higher, the more unlikely chunks count. The paper's code has 100.

    Returns:
        Of the same shape, at least 0; 0 where both agree.

    Raises:
        ConfigError: the temperature is not above 0.
    """
    check_range("temperature", temperature, above=0.0)
    mine = log_probs.clamp(max=-LEAST_SURPRISE) / temperature
    theirs = teacher_log_probs.detach().clamp(max=-LEAST_SURPRISE) / temperature
    seen = theirs.exp() * (theirs - mine)
    rest = -torch.expm1(theirs)
    other = rest * (rest.log() - (-torch.expm1(mine)).log())
    return temperature * (seen + other)
