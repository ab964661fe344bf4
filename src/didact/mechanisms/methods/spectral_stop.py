"""The mechanism of `spectral_stop`."""

import torch
from torch.nn import functional as F

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, gradient, normal, student
from didact.methods.noisy_labels.spectral_stop import Config, SpectralStop
from didact.types import Batch

SIZE, CLASSES, NUMBERS = 24, 4, 8


@mechanism(
    world="Hidden states that are a table, before a linear head.",
    effect="Once the amplitude is held, nothing makes a state longer or shorter: that changes its amplitude alone.",
    control="Before the stop, labels pull along the states.",
    breaks=("bypass stop_spectrum", "drop stop_spectrum"),
)
def what_the_amplitude_alone_changes_is_not_learned(seed: int) -> Found:
    """The size of the gradient along each state, relative to the whole gradient."""
    rows, table = batch(SIZE, CLASSES, seed), normal(SIZE, NUMBERS, seed=seed)

    def measured(fraction: float) -> float:
        method = SpectralStop(Config(), student(table, CLASSES, seed))
        method.fraction = fraction
        found = gradient(method, rows)
        return float(((found * table).sum(1).abs() / table.norm(dim=1)).sum() / found.norm(dim=1).sum())

    return Found(effect=measured(0.12), predicted=near(0.0), control=measured(0.05), null=(0.1, 1.0))


@mechanism(
    world="A student, which is a table, that is sure of the right classes; half of the labels are wrong.",
    effect="In the last part of the run no wrong label pulls.",
    control="Before, nearly the whole pull is that of wrong labels.",
    breaks=("shuffle predicted_labels", "drop predicted_labels"),
)
def labels_that_the_student_does_not_predict_do_not_pull(seed: int) -> Found:
    """The share of the gradient that falls on rows with a wrong label."""
    right = batch(SIZE, CLASSES, seed)["label"]
    half = torch.arange(SIZE) < SIZE // 2
    shown = Batch({**batch(SIZE, CLASSES, seed), "label": torch.where(half, right, (right + 1) % CLASSES)})
    table = 3.0 * F.one_hot(right, CLASSES) + 0.3 * normal(SIZE, CLASSES, seed=seed)

    def measured(fraction: float) -> float:
        net = student(table, CLASSES)
        assert net.head is not None
        with torch.no_grad():
            net.head.weight.copy_(torch.eye(CLASSES))
            net.head.bias.zero_()
        method = SpectralStop(Config(), net)
        method.fraction = fraction
        pull = gradient(method, shown).abs().sum(1)
        return float(pull[~half].sum() / pull.sum())

    return Found(effect=measured(0.5), predicted=near(0.0), control=measured(0.05), null=(0.7, 1.0))
