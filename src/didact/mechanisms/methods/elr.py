"""The mechanism of `elr`."""

import torch

from didact.mechanisms.checking import Found, below, mechanism, near
from didact.mechanisms.world import batch, gradient, normal, student
from didact.methods.noisy_labels.elr import Config, EarlyLearningRegularization
from didact.types import Batch

SIZE, CLASSES = 32, 5
LATER = 30
"""Meetings after which the average is the prediction."""


def _method(table: torch.Tensor, weight: float) -> EarlyLearningRegularization:
    shown = batch(SIZE, CLASSES)
    return EarlyLearningRegularization(Config(weight=weight), student(table), shown, SIZE)


@mechanism(
    world="Logits of a table that stay as they are, so that the average of predictions becomes the prediction p.",
    effect="Then the regulariser's gradient is -p (p - |p|^2) / (1 - |p|^2): what is sure becomes surer.",
    control="In the first meeting the average is only a part of p, and the gradient is far smaller.",
    breaks=("flip early_learning", "drop early_learning"),
)
def the_student_is_held_to_what_it_predicts(seed: int) -> Found:
    """How much of the closed form is in the gradient."""
    table = normal(SIZE, CLASSES, seed=seed)
    shown, method = batch(SIZE, CLASSES, seed), _method(table, 1.0)
    probs = table.softmax(-1)
    square = probs.square().sum(-1, keepdim=True)
    closed = -probs * (probs - square) / (1.0 - square) / SIZE

    def measured() -> float:
        found = gradient(method, shown, "early_learning")
        return float((found * closed).sum() / closed.square().sum())

    first = measured()
    last = [measured() for _ in range(LATER)][-1]
    return Found(effect=last, predicted=near(1.0), control=first, null=(0.0, 0.5))


@mechanism(
    world="A student that was sure of a class for all rows, and then meets labels of another class.",
    effect="With the paper's weight of 3 the pull towards the wrong label is gone: the gradient points the other way.",
    control="Without that weight the whole pull of the labels, p - 1, is there.",
    breaks=("drop early_learning", "flip early_learning"),
)
def a_wrong_label_pulls_no_more(seed: int) -> Found:
    """The gradient of the early class's logit, over its probability; negative where descent raises it."""
    table = normal(SIZE, CLASSES, seed=seed) * 0.1
    table[:, 0] += 3.0
    wrong = Batch({**batch(SIZE, CLASSES, seed), "label": torch.ones(SIZE, dtype=torch.int64)})

    def measured(weight: float) -> float:
        method = _method(table, weight)
        found = [gradient(method, wrong) for _ in range(LATER)][-1]
        ours = table.softmax(-1)
        return float(found[:, 0].mean() / ours[:, 0].mean() * SIZE)

    return Found(effect=measured(3.0), predicted=below(0.0), control=measured(0.0), null=near(1.0))
