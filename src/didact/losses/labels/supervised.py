"""Losses against labels, of single examples and of mixtures of two."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError, DataError
from didact.losses._weigh import blend_rows, weigh
from didact.types import IGNORE, Term, is_labelled


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    trust: Tensor | None = None,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Term:
    """Cross-entropy against hard or soft labels, in nats.

    Args:
        logits: float [B, C].
        labels: int64 [B], where `IGNORE` is left out of the sum and of the count; or probabilities float [B, C].
        trust: float [B] in [0, 1], a weight of each example in the sum and in the count.
        weight: float [B], a weight of each example in the sum alone, such as that of its class.
        label_smoothing: in [0, 1), the share e of a label's probability that is spread evenly over all classes
            (Szegedy et al. 2016): the loss is (1 - e) · cross-entropy + e · mean_c(-log p_c).

    Returns:
        The sum over labelled examples of -log p(label), or of -sum_c label_c log p_c; and their number.
    """
    log_probs = F.log_softmax(logits.float(), -1)
    if label_smoothing:
        labels, trust = _smooth(labels, label_smoothing, logits.shape[-1]), _labelled_trust(labels, trust)
    if labels.ndim == 1 and trust is None and weight is None:
        # One kernel gives the sum and the count of labels that are not IGNORE; reduction 2 is "sum".
        total, count = torch.ops.aten.nll_loss_forward.default(log_probs, labels, None, 2, IGNORE)
        return Term(total, count, rows=lambda: _nll(log_probs, labels).masked_fill(labels == IGNORE, torch.nan))
    losses = -(labels * log_probs).sum(-1) if labels.ndim == 2 else _nll(log_probs, labels)
    return weigh(losses if weight is None else losses * weight, _labelled_trust(labels, trust))


def _nll(log_probs: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(log_probs, labels, ignore_index=IGNORE, reduction="none")


def _labelled_trust(labels: Tensor, trust: Tensor | None) -> Tensor | None:
    if labels.ndim == 2:
        return trust
    return (labels != IGNORE).float() if trust is None else trust * (labels != IGNORE)


def _smooth(labels: Tensor, share: float, classes: int) -> Tensor:
    hard = labels if labels.ndim == 2 else F.one_hot(labels.clamp(min=0), classes).float()
    return hard * (1.0 - share) + share / classes


def squared_error(predictions: Tensor, targets: Tensor, *, trust: Tensor | None = None) -> Term:
    """Squared error of a regression.

    Args:
        predictions: float [B] or [B, 1].
        targets: float [B]; NaN is left out of the sum and of the count.
        trust: float [B] in [0, 1].

    Returns:
        The sum of squared differences, and the number of targets.
    """
    there = is_labelled(targets)
    error = torch.where(there, predictions.float().view(-1) - targets.nan_to_num(), 0.0)
    return weigh(error.square(), there if trust is None else trust * there)


def label_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    trust: Tensor | None = None,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Term:
    """The plain loss against labels: `cross_entropy` for classes, `squared_error` for a regression.

    Args:
        logits: float [B, C], or [B, 1] for a regression.
        labels: int64 [B] or float [B, C] for classes, float [B] for a regression.
        trust: float [B] in [0, 1].
        weight: float [B], the weights of the examples' classes, `batch.label_weight`; not for a regression.
        label_smoothing: in [0, 1); 0 for a regression.

    Raises:
        DataError: numbers as labels for a learner of classes.
        ConfigError: label smoothing of a regression.
    """
    if labels.is_floating_point() and labels.ndim == 1:
        if label_smoothing:
            raise ConfigError(f"label_smoothing is {label_smoothing:g}, but a regression has no classes; set it to 0.")
        if logits.shape[-1] != 1:
            raise DataError(f"The labels are numbers, but the learner has {logits.shape[-1]} classes as outputs.")
        return squared_error(logits, labels, trust=trust)
    return cross_entropy(logits, labels, trust=trust, weight=weight, label_smoothing=label_smoothing)


def mixed_cross_entropy(
    logits: Tensor, labels: Tensor, others: Tensor, share: Tensor | float, *, trust: Tensor | None = None
) -> Term:
    """Cross-entropy of mixtures, `share` of one example and the rest of another (Zhang et al. 2018, mixup).

    Args:
        logits: float [B, C], of the mixtures.
        labels: int64 [B], of the first examples; `IGNORE` is left out of the sum and of the count.
        others: int64 [B], of the second examples; likewise.
        share: in [0, 1], the share of the first: a number or a scalar tensor.
        trust: float [B] in [0, 1], a weight of each mixture in the sum and in the count.

    Returns:
        The sum of share times the cross-entropy with the first label and 1 - share times that with the second; the
        count is weighted likewise.
    """
    first, second = (cross_entropy(logits, one, trust=trust) for one in (labels, others))
    rest = 1.0 - share
    return Term(
        share * first.sum + rest * second.sum,
        share * first.count + rest * second.count,
        rows=lambda: blend_rows((share * (labels != IGNORE), first), (rest * (others != IGNORE), second)),
    )
