"""Metrics of predictions, computed in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.documents import Document, Values
from didact.errors import ConfigError, DataError
from didact.evaluation.pixelwise import mean_iou
from didact.evaluation.predictions import Predictions
from didact.types import Features, Labels, Logits, Signal, is_labelled

BINS = 15
"""The number of confidence bins of the calibration error, as in Guo et al. (2017)."""
LARGEST_SHARE = 2 / 3
"""The share of the commonest class above which classes are unbalanced."""
LEAST_RATIO = 1 / 5
"""The ratio of the rarest class to the commonest below which they are."""

_CLASSES_AT_ONCE = 64


def is_unbalanced(label: Tensor) -> bool:
    """Whether one class has more than two thirds of the labels, or another less than a fifth as many as the commonest.

    Then a constant answer has a high accuracy, and `balanced_accuracy` is the metric to look at.

    Args:
        label: int64 [N] with `IGNORE`; classes that do not occur do not count.
    """
    counts = label[is_labelled(label)].bincount()
    counts = counts[counts > 0].double()
    if len(counts) < 2:
        return False
    return bool(counts.max() > LARGEST_SHARE * counts.sum()) or bool(counts.min() < LEAST_RATIO * counts.max())


def metrics(predictions: Predictions) -> dict[str, float]:
    """Compute metrics of predictions; examples without a label are left out.

    For a classification: `accuracy` in [0, 1]; `balanced_accuracy` in [0, 1], the mean of the recalls of the classes
    that occur among the labels (Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010);
    `nll`, the mean negative log-likelihood in nats; `ece`, the expected
    calibration error in [0, 1] (Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3; 15
    bins); `macro_f1` in [0, 1], over the classes that occur among the labels or predictions; `auroc` in [0, 1], of the
    second class where there are two, else the mean of each class against the rest, and absent where a class has no
    label; `pixel_auroc` in [0, 1], of the pixels of all images, where the learner shows how unusual each is and the
    examples say which are defective.
    For a segmentation, over all pixels with a label: `mean_iou` in [0, 1] (see `pixelwise.mean_iou`), and `accuracy`
    and `nll` as above.
    For a regression: `r2` (absent where all labels are equal), `rmse` and `mae` in the labels' unit.

    Raises:
        DataError: no example has a label, or the maps and masks have different shapes.
        RunError: a prediction is not finite.
    """
    known = predictions.labelled()
    if known.task == "regression":
        return _regression(known.logits.double()[:, 0], known.labels.double())
    logits, labels = known.logits.double(), known.labels
    if known.task == "segmentation":
        confusion_CC = _confusion(logits, labels)
        right = float(confusion_CC.diagonal().sum().double() / confusion_CC.sum())
        return {"mean_iou": mean_iou(confusion_CC), "accuracy": right, "nll": float(F.cross_entropy(logits, labels))}
    classes = logits.shape[1]
    counts, confidence, accuracy = _bins(logits, labels, BINS)
    confusion_CC = _confusion(logits, labels)
    hits, truths = confusion_CC.diagonal().double(), confusion_CC.sum(1)
    occurring = (confusion_CC.sum(0) + truths).double()
    present = occurring > 0
    found = {
        "accuracy": float((logits.argmax(1) == labels).double().mean()),
        "balanced_accuracy": float((hits / truths).nanmean()),
        "nll": float(F.cross_entropy(logits, labels)),
        "ece": float((counts / counts.sum() * (accuracy - confidence).abs()).sum()),
        "macro_f1": float((2 * hits[present] / occurring[present]).mean()),
    }
    if truths.all() and classes > 1:
        # Of two classes, one area says all.
        scores_CN = (logits[:, 1:] - logits[:, :1] if classes == 2 else logits.log_softmax(1)).T
        positive = torch.arange(classes)[-len(scores_CN) :]
        found["auroc"] = float(_rank_areas(scores_CN, labels == positive[:, None]).mean())
    return found if known.maps is None else {**found, **_pixels(known, known.maps)}


def _regression(answers: Tensor, labels: Tensor) -> dict[str, float]:
    errors = answers - labels
    spread = (labels - labels.mean()).square().sum()
    found = {"rmse": float(errors.square().mean().sqrt()), "mae": float(errors.abs().mean())}
    return {"r2": float(1 - errors.square().sum() / spread), **found} if spread > 0 else found


def _pixels(predictions: Predictions, maps: Tensor) -> dict[str, float]:
    """The AUROC of a learner's anomaly maps over pixels."""
    if predictions.masks is None or predictions.masks.all() or not predictions.masks.any():
        return {}
    if maps.shape != predictions.masks.shape:
        raise DataError(
            f"The learner's maps are {list(maps.shape)}, but the masks {list(predictions.masks.shape)}; "
            "give masks of the images' height and width."
        )
    return {"pixel_auroc": float(_rank_areas(maps.flatten()[None], predictions.masks.flatten()[None]))}


def confusion(predictions: Predictions) -> Tensor:
    """The confusion matrix.

    Returns:
        int64 [C, C]; rows are labels, columns predictions.
    """
    known = predictions.labelled()
    return _confusion(known.logits, known.labels)


def _confusion(logits: Tensor, labels: Tensor) -> Tensor:
    classes = logits.shape[1]
    return (labels * classes + logits.argmax(1)).bincount(minlength=classes**2).reshape(classes, classes)


def recalls(predictions: Predictions) -> Tensor:
    """The recall of each class: the share of its examples that are predicted as such.

    Returns:
        float64 [C] in [0, 1]; NaN for a class without a label.
    """
    confusion_CC = confusion(predictions)
    return confusion_CC.diagonal().double() / confusion_CC.sum(1)


def reliability(predictions: Predictions, *, bins: int = BINS) -> list[dict[str, float]]:
    """Accuracy by confidence.

    The confidence is the probability of the predicted class; the bins are (0, 1/M], (1/M, 2/M] ... of equal width.

    Returns:
        One mapping for each bin that is not empty: `low` and `high` (its edges), `count`, `confidence` (mean) and
        `accuracy`.
    """
    known = predictions.labelled()
    counts, confidence, accuracy = _bins(known.logits.double(), known.labels, bins)
    return [
        {
            "low": i / bins,
            "high": (i + 1) / bins,
            "count": int(counts[i]),
            "confidence": float(confidence[i]),
            "accuracy": float(accuracy[i]),
        }
        for i in counts.nonzero()[:, 0].tolist()
    ]


def _bins(logits: Tensor, labels: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, mean confidence and accuracy for each bin, [M] each; 0 in an empty bin."""
    confidence, answers = logits.softmax(1).max(1)
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    index = torch.bucketize(confidence, edges)
    counts = index.bincount(minlength=bins).double()
    sums = torch.zeros(2, bins, dtype=torch.float64)
    sums.index_add_(1, index, torch.stack((confidence, (answers == labels).double())))
    means = sums / counts.clamp_min(1)
    return counts, means[0], means[1]


def _rank_areas(scores_CN: Tensor, positive_CN: Tensor) -> Tensor:
    """Areas under ROC curves, float64 [C], from the rank sums of Mann and Whitney; ties count half."""
    areas = list[Tensor]()
    for some, positive in zip(scores_CN.split(_CLASSES_AT_ONCE), positive_CN.split(_CLASSES_AT_ONCE), strict=True):
        scores = some.contiguous()
        ordered = scores.sort(1).values
        below = torch.searchsorted(ordered, scores)
        up_to = torch.searchsorted(ordered, scores, right=True)
        ranks = (below + up_to + 1).double() / 2
        count = positive.sum(1).double()
        excess = (ranks * positive).sum(1) - count * (count + 1) / 2
        areas.append(excess / (count * (scores.shape[1] - count)))
    return torch.cat(areas)


def agreement(predictions: Predictions, teacher: Predictions | Signal) -> dict[str, float]:
    """The agreement of a student with its teacher, whether the teacher is right or not.

    Args:
        predictions: the student's, for N examples.
        teacher: the teacher's, for the same examples in the same order: predictions, or a signal of `Logits`,
            `Features` with logits, or `Labels`. Examples on which it abstains (trust 0, no label) are left out.

    Returns:
        For classification `teacher_agreement`, the share of examples with the same predicted class, in [0, 1], and if
        the teacher gives probabilities `teacher_kl`, the mean of KL(teacher || student) in nats. For regression
        `teacher_rmse`.

    Raises:
        ConfigError: the teacher's predictions have another number or kind, or it abstains on every example.
    """
    answers, probabilistic, kept = _answers(predictions, teacher)
    if answers.shape[0] != predictions.size:
        raise ConfigError(
            f"The teacher answered {answers.shape[0]} examples and the student {predictions.size}; give both the same."
        )
    if not kept.any():
        raise ConfigError("The teacher abstains on every example, so there is nothing to agree with.")
    student, answers = predictions.logits[kept].double(), answers[kept]
    if predictions.task == "regression":
        return {"teacher_rmse": float((student[:, 0] - answers.reshape(-1)).square().mean().sqrt())}
    if not probabilistic:
        return {"teacher_agreement": float((student.argmax(1) == answers).double().mean())}
    if answers.shape != student.shape:
        raise ConfigError(f"The teacher knows {answers.shape[1]} classes and the student {student.shape[1]}.")
    same = (student.argmax(1) == answers.argmax(1)).double().mean()
    divergence = F.kl_div(student.log_softmax(1), answers, reduction="batchmean")
    return {"teacher_agreement": float(same), "teacher_kl": float(divergence)}


def _answers(predictions: Predictions, teacher: Predictions | Signal) -> tuple[Tensor, bool, Tensor]:
    """The teacher's probabilities [N, C], values [N] or classes [N]; whether the first; bool [N], no abstention."""
    regression = predictions.task == "regression"
    if isinstance(teacher, Labels):
        answers, trust = teacher.labels.cpu(), teacher.trust
        spoke = is_labelled(answers) if answers.ndim == 1 else torch.ones(len(answers), dtype=torch.bool)
        probabilistic = answers.ndim == 2 and not regression
        answers = answers.double() if probabilistic else answers
    elif isinstance(teacher, Predictions | Logits) or (isinstance(teacher, Features) and teacher.logits is not None):
        logits = teacher.logits
        assert logits is not None
        trust = None if isinstance(teacher, Predictions) else teacher.trust
        answers, probabilistic = logits.detach().cpu().double(), not regression
        answers = answers.softmax(1) if probabilistic else answers
        spoke = torch.ones(len(answers), dtype=torch.bool)
    else:
        raise ConfigError(f"A teacher's {type(teacher).__name__} cannot be agreed with; give its logits or labels.")
    return answers, probabilistic, spoke if trust is None else spoke & (trust.cpu() > 0)


def diagnostics(predictions: Predictions, *, points: int = 400) -> Document:
    """Data for the report's charts of predictions, ready for JSON.

    Args:
        predictions: of a classification or a regression.
        points: the largest number of (label, prediction) pairs of a regression, evenly spread over the labels' order.

    Returns:
        For classification and segmentation `classes`, `confusion` (lists of counts) and `reliability` (the result of
        that function); for a regression `actual` and `predicted`.
    """
    if predictions.task in ("classification", "segmentation"):
        classes = list(predictions.classes) or [str(i) for i in range(predictions.logits.shape[1])]
        counts = confusion(predictions).tolist()
        return {"classes": classes, "confusion": counts, "reliability": reliability(predictions)}
    known = predictions.labelled()
    order = known.labels.argsort()
    order = order[torch.linspace(0, known.size - 1, min(points, known.size)).round().long()]
    return {"actual": known.labels[order].tolist(), "predicted": known.logits[order, 0].tolist()}


def merge_diagnostics(found: list[Values]) -> Document:
    """Pool the `diagnostics` of several seeds: counts add up, bins are averaged by their counts, pairs are joined."""
    if not found or "confusion" not in found[0]:
        keys = ("actual", "predicted")
        return {key: [v for one in found for v in one[key]] for key in keys if found and key in found[0]}
    total = torch.stack([torch.tensor(one["confusion"]) for one in found]).sum(0).tolist()
    return {"classes": found[0]["classes"], "confusion": total, "reliability": _merge_bins(found)}


def _merge_bins(found: list[Values]) -> list[dict[str, float]]:
    merged: dict[float, dict[str, float]] = {}
    for one in (row for each in found for row in each["reliability"]):
        into = merged.setdefault(one["low"], {**one, "count": 0, "confidence": 0.0, "accuracy": 0.0})
        count = into["count"] + one["count"]
        for key in ("confidence", "accuracy"):
            into[key] += (one[key] - into[key]) * one["count"] / count
        into["count"] = count
    return [merged[low] for low in sorted(merged)]
