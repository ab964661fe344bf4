"""Intervals over rows: of a metric, and of the difference of two learners that answered the same rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import check_choice
from didact.evaluation.predictions import Predictions

RESAMPLES = 1000
"""How often the rows are drawn again."""
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure of a set of rows with its 95% interval."""

    value: float
    low: float
    high: float


def metric_interval(metric: str, predictions: Predictions, other: Predictions | None = None) -> Interval:
    """A metric, or how far one learner's is above another's, with its percentile bootstrap interval over the rows.

    Each resample draws as many rows as there are, with replacement (Efron, "Bootstrap methods: another look at the
    jackknife", Annals of Statistics 1979), the same for both learners, so that what both find hard cancels.

    Args:
        metric: `accuracy`, `balanced_accuracy` or `r2`, as `evaluation.metrics` has them.
        predictions: for N rows, of which those with a label count.
        other: another learner's for the same rows; None gives the interval of the metric itself.

    Raises:
        ConfigError: The metric is another one.
        DataError: No row has a label.
        RunError: A prediction is not finite.
    """
    check_choice("metric", metric, _METRICS)
    parts, value = _METRICS[metric]
    known = [one.labelled() for one in (predictions, other) if one is not None]
    sums = [parts(one) for one in known]

    def figure(totals: list[Tensor]) -> Tensor:
        first, *rest = [value(total) for total in totals]
        return first - rest[0] if rest else first

    drawn = [figure([counts @ part for part in sums]) for counts in _resamples(known[0].size)]
    # Where a resample has no row of any class, or equal labels alone, there is no figure.
    found = torch.cat(drawn)
    low, high = found[found.isfinite()].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(figure([part.sum(0, keepdim=True) for part in sums])), low, high)


def _resamples(size: int) -> Iterator[Tensor]:
    """How often each row is drawn, float64 [R, N], a part of the resamples at a time."""
    generator, left = torch.Generator().manual_seed(0), RESAMPLES
    while left:
        count = min(left, max(1, _AT_ONCE // size))
        places = torch.randint(size, (count, size), generator=generator)
        counts = torch.zeros(count, size, dtype=torch.float64)
        yield counts.scatter_add_(1, places, torch.ones((), dtype=torch.float64).expand_as(places))
        left -= count


def _hits(predictions: Predictions) -> Tensor:
    hit = predictions.logits.argmax(1) == predictions.labels
    return torch.stack([hit.double(), torch.ones(predictions.size, dtype=torch.float64)], 1)


def _hits_by_class(predictions: Predictions) -> Tensor:
    hot = F.one_hot(predictions.labels, predictions.logits.shape[1]).double()
    hit = predictions.logits.argmax(1) == predictions.labels
    return torch.cat([hot * hit[:, None], hot], 1)


def _squares(predictions: Predictions) -> Tensor:
    labels = predictions.labels.double()
    centred = labels - labels.mean()
    error = predictions.logits[:, 0].double() - labels
    return torch.stack([error.square(), centred.square(), centred, torch.ones_like(error)], 1)


def _share(sums: Tensor) -> Tensor:
    return sums[:, 0] / sums[:, 1]


def _mean_recall(sums: Tensor) -> Tensor:
    hits, counts = sums.chunk(2, 1)
    return (hits / counts).nanmean(1)


def _r2(sums: Tensor) -> Tensor:
    error, square, total, count = sums.unbind(1)
    return 1 - error / (square - total.square() / count)


_METRICS: dict[str, tuple[Callable[[Predictions], Tensor], Callable[[Tensor], Tensor]]] = {
    "accuracy": (_hits, _share),
    "balanced_accuracy": (_hits_by_class, _mean_recall),
    "r2": (_squares, _r2),
}
"""By metric: numbers of each row [N, K], and the metric from their sums [R, K]."""
