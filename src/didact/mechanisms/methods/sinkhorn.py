"""The mechanism of `sinkhorn`."""

from torch import Tensor

from didact.mechanisms.checking import Found, below, mechanism
from didact.mechanisms.world import batch, normal, student, teacher
from didact.methods.distillation.sinkhorn import Config, SinkhornDistillation

N, C = 16, 5


@mechanism(
    world="Tables of sharp logits; the student has the teacher's predictions, but for other examples.",
    effect="The distance is one of batches: predictions that are all there, in another order, are nearly free to move.",
    control="The student predicts one class for all examples.",
    breaks=("drop sinkhorn_distance", "flip sinkhorn_distance"),
)
def a_batch_is_compared_as_a_whole(seed: int) -> Found:
    """The mean distance of an example."""
    rows, theirs = batch(N, C, seed), 12.0 * normal(N, C, seed=seed)

    def measured(mine: Tensor) -> float:
        config = Config(temperature=1.0, regularisation=0.05, iterations=50)
        method = SinkhornDistillation(config, student(mine), teacher(theirs))
        return float(method.loss(rows)["sinkhorn"].mean().detach())

    alone = theirs[:1].expand(N, C)
    return Found(effect=measured(theirs.roll(3, 0)), predicted=below(0.1), control=measured(alone), null=(0.5, 2.5))
