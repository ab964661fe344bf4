"""Labels that the doctor suspects: different ones of equal rows, and those that a teacher contradicts and is sure."""

from collections.abc import Iterator

import torch
from torch import Tensor

from didact.evaluation.suspects import find_suspects
from didact.experiment.checking import Check
from didact.materials.examples.data import select_labelled
from didact.sources.splitting import content_hashes
from didact.types import Examples

SURE = 0.95
"""The probability from which a teacher is sure."""
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
