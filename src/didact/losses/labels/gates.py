"""Gates: which pseudo-labels are learned, and with what weight.

Axis letters: B examples, C classes. Nothing here carries a gradient.
"""

import math

import torch
from torch import Tensor

from didact.losses._weigh import weigh
from didact.types import Term

_LEAST_SHARE = 1e-6
"""Added to shares of classes before they are divided."""


@torch.no_grad()
def pseudo_labels(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest class of each example, and its probability.

    Args:
        logits: float [B, C].

    Returns:
        The confidence, float32 [B] in [1/C, 1]; and the class, int64 [B].
    """
    confidence, label = logits.float().softmax(-1).max(-1)
    return confidence, label


@torch.no_grad()
def fixed_gate(confidence: Tensor, threshold: Tensor | float) -> Tensor:
    """1 where the confidence reaches a threshold, 0 elsewhere.

    Args:
        confidence: float [B].
        threshold: a number, or one for each example, float [B].

    Returns:
        float32 [B].
    """
    return (confidence >= threshold).float()


@torch.no_grad()
def convex_thresholds(learned: Tensor, threshold: float) -> Tensor:
    """Thresholds that are lower for classes of which less is learned (Zhang et al. 2021, FlexMatch, equation 11).

    Args:
        learned: float [C] in [0, 1], how well each class is learned.
        threshold: that of a class that is wholly learned.

    Returns:
        float [C], the threshold times a / (2 - a).
    """
    return threshold * learned / (2.0 - learned)


@torch.no_grad()
def self_adaptive_thresholds(confidence: Tensor, probs: Tensor) -> Tensor:
    """Thresholds from what the student is sure of, overall and by class (Wang et al. 2023, FreeMatch, equation 8).

    Args:
        confidence: scalar, its mean confidence.
        probs: float [C], its mean probabilities.

    Returns:
        float [C], the mean confidence times p_c / max p.
    """
    return confidence * probs / probs.max()


@torch.no_grad()
def gaussian_gate(confidence: Tensor, mean: Tensor, variance: Tensor, sigmas: float = 2.0) -> Tensor:
    """1 above the mean confidence, and below it as a Gaussian falls (Chen et al. 2023, SoftMatch, equation 4).

    Args:
        confidence: float [B].
        mean: scalar, the mean confidence.
        variance: scalar, that of the confidence.
        sigmas: by how much the Gaussian is narrower than the confidences: its variance is divided by the square.

    Returns:
        float [B] in (0, 1].
    """
    below = (confidence - mean).clamp(max=0.0)
    return torch.exp(-below.square() * sigmas**2 / (2.0 * variance))


@torch.no_grad()
def align(probs: Tensor, found: Tensor, wanted: Tensor) -> Tensor:
    """Distribution alignment: shift probabilities so that their mean is as wanted (Berthelot et al. 2020, ReMixMatch).

    Args:
        probs: float [B, C].
        found: float [C], the mean probabilities of late.
        wanted: float [C], what they should be.

    Returns:
        float [B, C], proportional to probs · wanted / found in each row.
    """
    shifted = probs * (wanted + _LEAST_SHARE) / (found + _LEAST_SHARE)
    return shifted / shifted.sum(-1, keepdim=True)


def admitted_share(gate: Tensor, unlabelled: Tensor) -> Term:
    """The mean of a gate over the unlabelled examples, as a term that is only looked at.

    Args:
        gate: float [B] in [0, 1].
        unlabelled: float [B], 1 for unlabelled examples and 0 for others.
    """
    return weigh(gate, unlabelled).times(0.0)


@torch.no_grad()
def shrink(probs: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Leave out the classes next to the likeliest one until it is sure (Yang et al. 2023, ShrinkMatch, equation 5).

    The second likeliest class goes first, then the third, until the likeliest one's share of what is left reaches the
    threshold. At least one other class stays.

    Args:
        probs: float [B, C].
        threshold: in [0, 1].

    Returns:
        The classes that are left out, bool [B, C]; and 1 where the threshold was reached by leaving some out, 0 where
        it holds without or cannot be reached, float32 [B].
    """
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    # tails[:, c] is the probability of the classes from rank c on.
    tails = ordered.flip(-1).cumsum(-1).flip(-1)
    shares = ordered[:, :1] / (ordered[:, :1] + tails[:, 1:])
    reached = shares >= threshold
    cut = reached.int().argmax(-1, keepdim=True) + 1
    unsure = ~reached[:, :1] & reached[:, -1:]
    ranks = torch.arange(probs.shape[-1], device=probs.device)
    left_out = (ranks > 0) & (ranks < cut) & unsure
    return torch.zeros_like(left_out).scatter(1, order, left_out), unsure[:, 0].float()


@torch.no_grad()
def joint_gate(sure: Tensor, unsure: Tensor, least_sure: Tensor, least_unsure: Tensor) -> Tensor:
    """The product of the teacher's confidence and the student's uncertainty, where both reach a threshold.

    Args:
        sure: the teacher's confidence, float [B] in [0, 1].
        unsure: the student's uncertainty, float [B] in [0, 1].
        least_sure: scalar, the threshold of the first.
        least_unsure: scalar, that of the second.

    Returns:
        float [B] in [0, 1].
    """
    return sure * unsure * ((sure >= least_sure) & (unsure >= least_unsure))


@torch.no_grad()
def consensus(first: Tensor, second: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The class on which two predictions agree, where both are confident.

    Args:
        first: float [B, C], probabilities.
        second: float [B, C], those of another.
        threshold: the least confidence of both.

    Returns:
        The likeliest class of their product, which is the common one where they agree, int64 [B]; and 1 where they
        agree and both reach the threshold, 0 elsewhere, float32 [B].
    """
    (sure, said), (also, other) = first.max(-1), second.max(-1)
    return (first * second).argmax(-1), ((said == other) & (torch.minimum(sure, also) >= threshold)).float()


@torch.no_grad()
def top_of_each_class(probs: Tensor, pool: Tensor, count: int, classes_each: int = 1) -> Tensor:
    """Which examples are among the best of a class in a pool (Yalniz et al. 2019, section 3.2).

    Args:
        probs: float [B, C], of examples of the pool.
        pool: float [N, C], of all its examples; zeros where nothing is known.
        count: how many of the pool are taken for each class, at least 1.
        classes_each: the most classes that one example may serve, its likeliest ones.

    Returns:
        float32 [B, C], 1 where an example is taken for a class. Where fewer than `count` examples may serve a class,
        all of them are taken.
    """
    least = _ranked(pool, classes_each).topk(min(count, len(pool)), dim=0).values[-1]
    mine = _ranked(probs, classes_each)
    return ((mine >= least) & (mine > 0)).float()


def _ranked(probs: Tensor, classes_each: int) -> Tensor:
    """The probabilities of the likeliest classes, and zeros for the others."""
    values, places = probs.topk(min(classes_each, probs.shape[-1]), dim=-1)
    return torch.zeros_like(probs).scatter(-1, places, values)


@torch.no_grad()
def two_means(values: Tensor) -> tuple[Tensor, Tensor]:
    """The centres of two groups of numbers, each number in the group of the nearer centre: k-means with k = 2.

    Args:
        values: float [N], at least two.

    Returns:
        The lower and the higher centre, float64 scalars; of all divisions, that of the least squared distances.
    """
    ordered = values.double().sort().values
    below = torch.arange(1, len(values), device=values.device, dtype=torch.float64)
    above = len(values) - below
    sums = ordered.cumsum(0)
    low, high = sums[:-1] / below, (sums[-1] - sums[:-1]) / above
    # The squares of the numbers add up to the same for every division.
    best = (below * low.square() + above * high.square()).argmax()
    return low[best], high[best]


@torch.no_grad()
def two_thresholds(confidence: Tensor, label: Tensor, classes: int, otherwise: float) -> Tensor:
    """Two thresholds for each class: `two_means` of the confidences in it (Liu et al. 2023, HSSDA, section 3.2).

    Args:
        confidence: float [N].
        label: int64 [N], the class of each; those out of range count for none.
        classes: C.
        otherwise: both thresholds of a class with fewer than three confidences.

    Returns:
        float32 [C, 2], the lower and the higher ones, cut to two digits as the authors' code does.
    """
    found = torch.full((classes, 2), otherwise, device=confidence.device)
    for number in range(classes):
        values = confidence[label == number]
        if len(values) > 2:
            found[number] = (torch.stack(two_means(values)) * 100.0).floor() / 100.0
    return found


@torch.no_grad()
def graded_gate(confidence: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """1 above the higher of two thresholds, the confidence between them, and 0 below.

    Args:
        confidence: float [B].
        low: a number, or one for each example, float [B].
        high: likewise, not below `low`.

    Returns:
        float [B] in [0, 1].
    """
    return torch.where(confidence > high, torch.ones_like(confidence), confidence) * (confidence > low)


@torch.no_grad()
def three_way_gate(probs: Tensor, thresholds: Tensor, low: float) -> tuple[Tensor, Tensor]:
    """Pseudo-labels of three kinds: a class, the background, or none (Chen et al. 2022, DSL, adaptive filtering).

    Args:
        probs: float [B, C], of which the first class is the background.
        thresholds: float [C], from which on the likeliest other class is taken.
        low: below which the background is; where it is not below a threshold, nothing is left out.

    Returns:
        The class, int64 [B], 0 for the background; and 1 where it is learned, 0 between the two, float32 [B].
    """
    score, likeliest = probs[:, 1:].max(-1)
    there = score >= thresholds[likeliest + 1]
    return torch.where(there, likeliest + 1, 0), (there | (score < low)).float()


@torch.no_grad()
def class_thresholds(sums: Tensor, counts: Tensor, low: float, high: float, *, power: float = 0.05) -> Tensor:
    """Thresholds that rise with how often and how surely a class is said (Chen et al. 2022, DSL, adaptive filtering).

    Args:
        sums: float [C], of the scores in which each class was said.
        counts: float [C], how often; classes that never were do not count for the mean.
        low: the threshold of a class whose sum is the mean count, and the least one.
        high: the greatest one.
        power: to which the sum over the mean count is taken.

    Returns:
        float [C], low · (sum / mean count)^power between low and high.
    """
    mean = counts.sum() / (counts > 0).sum().clamp(min=1)
    return (low * (sums / mean.clamp(min=torch.finfo(sums.dtype).tiny)).pow(power)).clamp(low, high)


def steady_gate(confidence: Tensor, deviation: Tensor) -> Tensor:
    """More for answers that are sure, and less for those that vary from one time to another (Huang et al. 2025, SeFAR).

    2 sigmoid(e^p - e) · (2 sigmoid(1 / (20 s)) - 1), with p the confidence and s its standard deviation.

    Args:
        confidence: float [B] in [0, 1], the mean probability of the likeliest class.
        deviation: float [B], the standard deviation of that probability.

    Returns:
        float [B] in [0, 1]; 1 for a constant probability of 1.
    """
    sure = 2.0 * torch.sigmoid(confidence.exp() - math.e)
    return sure * (2.0 * torch.sigmoid(1.0 / (20.0 * deviation + torch.finfo(torch.float32).eps)) - 1.0)
