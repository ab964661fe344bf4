"""The mechanism of `orc`."""

from torch import Tensor, nn

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student
from didact.methods.distillation.orc import ORC, Config

N, C = 24, 4


def tables(*rows: Tensor) -> "list[nn.Module]":
    """Students that are tables, in the order in which they are spawned."""
    return [student(one) for one in rows]


@mechanism(
    world="Three students and a pivot that are tables of logits; one student knows the labels.",
    effect="The student with the lowest loss is promoted, and the others move towards it by half: (q - p) / 2.",
    control="With nobody promoted, nothing of it arrives.",
    breaks=("flip distillation_loss", "drop distillation_loss", "shuffle distillation_loss"),
)
def the_best_student_teaches_the_others(seed: int) -> Found:
    """The coefficient of the delivered student's gradient on the difference to the best one."""
    rows = batch(N, C, seed)
    mine, other, pivot = (normal(N, C, seed=seed + k) for k in (0, 50, 100))
    best = mine.new_zeros(N, C).scatter(1, rows["label"].unsqueeze(1), 3.0) + normal(N, C, seed=seed + 150)

    def measured(promoted: int) -> float:
        spawned = iter(tables(other, best, pivot))
        method = ORC(Config(promoted=promoted), student(mine), lambda _spec: next(spawned))
        closed = (mine.softmax(1) - best.softmax(1)) / N
        return coefficient(gradient(method, rows, "temporary_0_0"), closed)

    return Found(effect=measured(1), predicted=near(0.5), control=measured(0), null=near(0.0))
