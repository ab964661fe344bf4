"""Contrastive losses between two views of each example of a batch.

With normalised embeddings, s the inner product over the temperature, an anchor i of one view has as its positive the
other view of the same example, s+, and as its negatives both views of all other examples, s-. Of B examples, each of 2B
anchors has 2B - 2 negatives. An example's loss is the mean over its two anchors.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError, check_range
from didact.losses._precision import full_precision
from didact.types import Term


def nt_xent(first: Tensor, second: Tensor, *, temperature: float = 0.5) -> Term:
    """The normalised temperature-scaled cross-entropy of SimCLR (Chen et al. 2020, equation 1).

    -s+ + log(e^s+ + sum of e^s-).

    Args:
        first: float [B, D], embeddings of one view; they need not be normalised.
        second: float [B, D], those of the other view.
        temperature: above 0.

    Returns:
        The sum over examples, and their number B.

    Raises:
        ConfigError: the shapes differ, there is only one example, or the temperature is out of range.
    """
    positive, negatives = _scores(first, second, temperature)
    return _term(torch.logaddexp(positive, negatives.logsumexp(1)) - positive)


def decoupled_nt_xent(first: Tensor, second: Tensor, *, temperature: float = 0.1, sigma: float | None = None) -> Term:
    """Decoupled contrastive learning (Yeh et al. 2022, equations 5 and 6): the positive leaves the denominator.

    -w s+ + log(sum of e^s-). The gradient of `nt_xent` for an anchor is this one's times 1 - p+, p+ being the softmax
    of the positive: it vanishes once the positive stands out, and the sooner the fewer negatives there are.

    Args:
        first: float [B, D]; see `nt_xent`.
        second: float [B, D].
        temperature: above 0.
        sigma: of the weights w = 2 - e^(c/sigma) / mean of e^(c/sigma), with c the cosine of the positive; None for 1.

    Returns:
        The sum over examples, and their number B.

    Raises:
        ConfigError: as `nt_xent`, or sigma is out of range.
    """
    positive, negatives = _scores(first, second, temperature)
    weight = 1.0
    if sigma is not None:
        check_range("sigma", sigma, above=0.0)
        weight = 2 - len(positive) // 2 * (positive * (temperature / sigma)).view(2, -1).softmax(1).flatten()
    return _term(negatives.logsumexp(1) - weight * positive)


def debiased_nt_xent(first: Tensor, second: Tensor, *, temperature: float = 0.5, prior: float = 0.1) -> Term:
    """Debiased contrastive learning (Chuang et al. 2020, equation 8), which corrects for negatives of the own class.

    -s+ + log(e^s+ + N g), with g = max((mean of e^s- - prior e^s+) / (1 - prior), e^(-1/temperature)) and N = 2B - 2:
    the mean over negatives of another class, if a negative is of the anchor's class with the chance `prior`, and looks
    like its positive then.

    Args:
        first: float [B, D]; see `nt_xent`.
        second: float [B, D].
        temperature: above 0.
        prior: in [0, 1); 0 is `nt_xent`.

    Returns:
        The sum over examples, and their number B.

    Raises:
        ConfigError: as `nt_xent`, or the prior is out of range.
    """
    check_range("prior", prior, at_least=0.0, below=1.0)
    positive, negatives = _scores(first, second, temperature)
    count = len(positive) - 2
    # The largest score is factored out, so that nothing overflows at low temperatures.
    largest = torch.maximum(negatives.amax(1), positive).detach()
    mean = (negatives - largest[:, None]).exp().sum(1) / count
    other = ((mean - prior * (positive - largest).exp()) / (1 - prior)).clamp(min=torch.finfo(mean.dtype).tiny)
    estimate = (other.log() + largest).clamp(min=-1 / temperature) + math.log(count)
    return _term(torch.logaddexp(positive, estimate) - positive)


def multi_view_nt_xent(views: Sequence[Tensor], *, temperature: float = 0.1) -> Term:
    """Contrast of several views (Khosla et al. 2020, equation 2, without labels); of two, it is `nt_xent`.

    Each view of each example is an anchor, whose positives are the other views of the example: the mean over them of
    -s+ + log(sum of e^s over all other views of all examples).

    Args:
        views: two or more embeddings of the same examples, float [B, D] each; they need not be normalised.
        temperature: above 0.

    Returns:
        The sum over examples of the mean over their anchors, and their number B.

    Raises:
        ConfigError: the shapes differ, there is one view or one example, or the temperature is out of range.
    """
    check_range("temperature", temperature, above=0.0)
    if len(views) < 2 or len({view.shape for view in views}) > 1 or len(views[0]) < 2:
        raise ConfigError(
            f"The views are {[list(view.shape) for view in views]}; give two or more views of the same examples, two "
            "or more."
        )
    rows, size = F.normalize(torch.cat(tuple(views)).float(), dim=1), len(views[0])
    with full_precision(rows):
        scores = rows @ rows.T / temperature
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    scores = scores.masked_fill(itself, -torch.inf).log_softmax(1).masked_fill(itself, 0.0)
    same = torch.eye(size, dtype=scores.dtype, device=rows.device).repeat(len(views), len(views))
    anchors = -(scores * same).sum(1) / (len(views) - 1)
    found = anchors.view(len(views), -1).mean(0)
    return Term(found.sum(), len(found), rows=found)


def _scores(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Each anchor's positive [2B] and negatives [2B, 2B], of which its own two views are -inf."""
    check_range("temperature", temperature, above=0.0)
    if first.shape != second.shape or len(first) < 2:
        raise ConfigError(
            f"The views are {list(first.shape)} and {list(second.shape)}; give two views of the same examples, two or "
            "more."
        )
    views = F.normalize(torch.cat([first, second]).float(), dim=1)
    size = len(first)
    with full_precision(views):
        scores = views @ views.T / temperature
    own = torch.eye(size, dtype=torch.bool, device=views.device).repeat(2, 2)
    positive = torch.diagonal(scores, offset=size).repeat(2)
    return positive, scores.masked_fill(own, -torch.inf)


def _term(anchors: Tensor) -> Term:
    rows = anchors.view(2, -1).mean(0)
    return Term(rows.sum(), len(rows), rows=rows)


def too_alike(first: Tensor, second: Tensor, *, temperature: float = 0.5) -> Term:
    """How much more alike the views of an example are than those of others (Qin et al. 2023, MCLRec).

    For each anchor with h the larger and l the lower of s+ and its largest s-: s+ - l, plus the mean over its s- of
    h - s-. Where the positive stands out, it comes down to the largest negative, and the negatives come up to it; the
    gradient flows through h and l too.

    Args:
        first: float [B, D]; see `nt_xent`.
        second: float [B, D].
        temperature: above 0.

    Returns:
        The sum over examples, and their number B.

    Raises:
        ConfigError: as `nt_xent`.
    """
    positive, negatives = _scores(first, second, temperature)
    largest = negatives.amax(1)
    others = negatives.isfinite()
    above = (torch.maximum(positive, largest)[:, None] - negatives).masked_fill(~others, 0.0)
    return _term(positive - torch.minimum(positive, largest) + above.sum(1) / others.sum(1))
