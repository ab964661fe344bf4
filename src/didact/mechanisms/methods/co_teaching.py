"""The mechanism of `co_teaching`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal, student, table_of
from didact.methods.noisy_labels.co_teaching import Config, CoTeaching
from didact.types import Batch

SIZE, CLASSES = 32, 5


@mechanism(
    world="Half of the labels are wrong. A student, which is a table, knows them all by heart; its peer does not.",
    effect="The student learns from the rows that the peer finds easy, of which none is wrong.",
    control="With nothing left out, the wrong labels have half of the pull.",
    breaks=("shuffle small_losses",),
)
def a_student_learns_what_its_peer_finds_easy(seed: int) -> Found:
    """The share of the first student's gradient that falls on rows with a wrong label."""
    right = batch(SIZE, CLASSES, seed)["label"]
    half = torch.arange(SIZE) < SIZE // 2
    given = torch.where(half, right, (right + 1) % CLASSES)
    shown = Batch({**batch(SIZE, CLASSES, seed), "label": given})

    def measured(forget_rate: float) -> float:
        known = [3.0 * torch.nn.functional.one_hot(labels, CLASSES) for labels in (given, right)]
        nets = [student(one + 0.3 * normal(SIZE, CLASSES, seed=2 * seed + i)) for i, one in enumerate(known)]
        method = CoTeaching(Config(forget_rate=forget_rate, ramp_up=0.0), nets[0], lambda _: nets[1], shown, SIZE)
        (found,) = torch.autograd.grad(method.loss(shown)["label_0"].mean(), [table_of(method)])
        pull = found.abs().sum(-1)
        return float(pull[~half].sum() / pull.sum())

    return Found(effect=measured(0.5), predicted=near(0.0), control=measured(0.0), null=(0.4, 0.6))
