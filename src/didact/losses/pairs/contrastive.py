"""Noise-contrastive estimation against a bank of examples."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError, check_range
from didact.losses._precision import full_precision
from didact.losses._weigh import weigh
from didact.types import Term


def nce_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    log_normaliser: Tensor | float,
    temperature: float = 0.07,
    left_out: Tensor | None = None,
    trust: Tensor | None = None,
) -> Term:
    """The objective of contrastive representation distillation (Tian et al. 2020, section 3.1), negated.

    A critic h = e^s / (e^s + K z), with s an inner product over the temperature, K the number of negatives and z the
    normaliser, is trained to give 1 for the positive pair and 0 for the negative ones. It is computed as log h =
    logsigmoid(s - log K z) and log(1 - h) = logsigmoid(log K z - s), which do not overflow.

    Args:
        anchors: float [B, D], usually normalised; the gradient flows into them.
        positives: float [B, D], the positive of each anchor; the gradient flows into them where they carry one.
        negatives: float [N, D], shared by all anchors; no gradient flows into them.
        log_normaliser: log z, a number or a scalar tensor. In the paper z = 1 / (number of examples); the authors' code
            has the mean of e^s over the first batch, which `nce_log_normaliser` gives.
        temperature: above 0.
        left_out: bool [B, N], the negatives that are excluded for each anchor; None for none.
        trust: float [B] in [0, 1].

    Returns:
        The sum over anchors of -log h(positive) - sum over negatives of log(1 - h(negative)); and the number of
        anchors.

    Raises:
        ConfigError: the widths differ, or the temperature is out of range.
    """
    check_range("temperature", temperature, above=0.0)
    _check_widths(anchors, positives, negatives)
    anchors, positives = anchors.float(), positives.float()
    noise = _log_count(negatives, left_out) + log_normaliser
    agree = (anchors * positives).sum(-1) / temperature - noise
    scores = _scores(anchors, negatives, temperature)
    scores = scores - (noise.unsqueeze(-1) if noise.ndim else noise)
    if left_out is not None:
        scores = scores.masked_fill(left_out, -torch.inf)
    if trust is None:
        total = F.softplus(-agree).sum() + F.softplus(scores).sum()
        return Term(total, len(anchors), rows=lambda: F.softplus(-agree) + F.softplus(scores).sum(-1))
    return weigh(F.softplus(-agree) + F.softplus(scores).sum(-1), trust)


def nce_log_normaliser(
    anchors: Tensor, negatives: Tensor, *, temperature: float = 0.07, left_out: Tensor | None = None
) -> Tensor:
    """The logarithm of the normaliser z: the mean of e^s over pairs.

    The authors' code divides e^s by Z = M · mean(e^s) and compares it with K / M, M being the number of examples;
    together that is K · mean(e^s).

    Args:
        anchors: float [B, D].
        negatives: float [N, D].
        temperature: above 0.
        left_out: bool [B, N], pairs that are excluded.

    Returns:
        Scalar, without a gradient: the logarithm of the mean of e^s over the pairs.
    """
    with torch.no_grad():
        scores = _scores(anchors.float(), negatives, temperature)
        if left_out is None:
            return scores.logsumexp((0, 1)) - _log_count(negatives, None) - scores.new_tensor(len(scores)).log()
        return scores.masked_fill(left_out, -torch.inf).logsumexp((0, 1)) - (~left_out).sum().clamp(min=1).log()


def _scores(anchors: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    with full_precision(anchors):
        return (anchors / temperature) @ negatives.detach().float().T


def _log_count(negatives: Tensor, left_out: Tensor | None) -> Tensor:
    """The logarithm of K: a scalar, or [B] where the anchors may have different numbers of negatives."""
    if left_out is None:
        return negatives.new_tensor(max(len(negatives), 1), dtype=torch.float32).log()
    return (~left_out).sum(-1).clamp(min=1).log()


def _check_widths(anchors: Tensor, positives: Tensor, negatives: Tensor) -> None:
    if anchors.shape != positives.shape or anchors.shape[-1] != negatives.shape[-1]:
        raise ConfigError(
            f"The anchors are {list(anchors.shape)}, the positives {list(positives.shape)} and the negatives "
            f"{list(negatives.shape)}; projectors must bring them to the same width."
        )
