"""Labels that the doctor suspects: of equal rows, far from all others, or contradicted by a teacher that is sure."""

from collections.abc import Iterator

import torch
from torch import Tensor

from didact.evaluation.suspects import find_suspects
from didact.experiment.checking import Check
from didact.materials.examples.data import select_labelled
from didact.sources.splitting import content_hashes
from didact.types import Examples, Scale

SURE = 0.95
"""The probability from which a teacher is sure."""
FAR = 30.0
"""Interquartile ranges beyond which a number is far from all others."""
FEW, SPREAD = 0.05, 0.5
"""The largest share of numbers that may be far, and the least share of the variance that they then make up."""
_RIGHT = 0.7
"""A teacher that is right on fewer labels than this share is itself the suspect."""


def contradictory(train: Examples) -> Iterator[Check]:
    """Warn of labelled examples that have the same inputs as another one with another label."""
    known = select_labelled(train)
    if train.task == "regression" or not known.size:
        return
    label = known.tensors["label"]
    group = content_hashes(known).unique(return_inverse=True)[1]
    labels_of_groups = torch.stack([group, label], dim=1).unique(dim=0)[:, 0].bincount()
    found = (labels_of_groups[group] > 1).nonzero()[:, 0]
    if len(found):
        names = [train.classes[i] for i in label[group == group[found[0]]].unique().tolist()]
        yield Check(
            "warn",
            "labels",
            f"{len(found):,} of {known.size:,} labelled training examples have the same inputs as another with another "
            f"label, such as {' and '.join(names)}. No student is right on all of them: look for "
            "wrong labels, or for a column that tells these examples apart.",
        )


def far(train: Examples) -> Iterator[Check]:
    """Warn of a few targets that are so far from the others that they decide the unit in which it is learned."""
    if train.task != "regression" or not (known := select_labelled(train)).size:
        return
    scale = train.scale or Scale(0.0, 1.0)
    values = scale.invert(known.tensors["label"])
    low, middle, high = (float(values.quantile(share)) for share in (0.25, 0.5, 0.75))
    away = (values - middle).abs() > FAR * (high - low)
    share = float((values[away] - middle).square().sum() / (values - middle).square().sum().clamp(min=1e-300))
    if high > low and 0 < int(away.sum()) <= FEW * known.size and share > SPREAD:
        yield Check(
            "warn",
            "labels",
            f"{int(away.sum())} of {known.size:,} training labels, such as {float(values[away][0]):g}, make up "
            f"{share:.1%} of the spread of the target, by which it is scaled. If such a number means a missing value, "
            "say so with missing (--missing=NUMBER); else correct it, or learn the logarithm.",
        )


def doubted(known: Examples, scores: Tensor) -> Iterator[Check]:
    """Warn of labels that a teacher contradicts and is sure: suspects by confident learning on its probabilities.

    Args:
        known: N labelled examples, for classification.
        scores: the teacher's logits for them, [N, C].
    """
    label, probs = known.tensors["label"], scores.detach().cpu().float().softmax(dim=1)
    said = find_suspects(label, probs)
    found = (said.suspect & (probs.amax(1) >= SURE)).nonzero()[:, 0]
    if len(found) and (said.suggested != label).float().mean() <= 1 - _RIGHT:
        yield Check(
            "warn",
            "labels",
            f"{len(found)} of {known.size} training labels contradict a teacher that is at least {SURE:.0%} sure. "
            "Either may be wrong: have it predict the training rows, and look at these.",
        )
