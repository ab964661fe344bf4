"""The mechanism of `mutual_learning`."""

import torch
from torch import Tensor, nn

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student
from didact.methods.distillation.mutual_learning import Config, MutualLearning

N, C = 64, 5


@mechanism(
    world="Two students that are tables of logits.",
    effect="Each student moves towards its peer: the gradient is q - p, the difference of their probabilities.",
    control="The peer's rows are shuffled among the examples.",
    breaks=("flip distillation_loss", "drop distillation_loss", "shuffle distillation_loss"),
)
def students_move_towards_each_other(seed: int) -> Found:
    """The gradient's coefficient on what the peer says about single examples."""
    rows, mine, other = batch(N, C, seed), normal(N, C, seed=seed), normal(N, C, seed=seed + 50)
    said = other.softmax(1) - other.softmax(1).mean(0)

    def measured(peer: Tensor) -> float:
        def spawn(_spec: str) -> nn.Module:
            return student(peer)

        method = MutualLearning(Config(), student(mine), spawn)
        return coefficient(gradient(method, rows, "peer_0_1") - mine.softmax(1) / N, -said / N)

    return Found(effect=measured(other), predicted=near(1.0), control=measured(other.roll(1, 0)), null=(-0.3, 0.3))


@mechanism(
    world="Two students that are tables of logits.",
    effect="What a student learns from its peer does not move the peer.",
    control="The term of the other direction moves it.",
    breaks=("drop distillation_loss",),
)
def the_peer_is_a_teacher_that_stands_still(seed: int) -> Found:
    """The size of the gradient at the peer over that at the student."""
    rows = batch(N, C, seed)
    peer = student(normal(N, C, seed=seed + 50))
    method = MutualLearning(Config(), student(normal(N, C, seed=seed)), lambda _spec: peer)

    def measured(name: str) -> float:
        (at_peer,) = torch.autograd.grad(
            method.loss(rows)[name].mean(), [peer.get_parameter("module.table")], allow_unused=True
        )
        return 0.0 if at_peer is None else float(at_peer.norm())

    return Found(effect=measured("peer_0_1"), predicted=near(0.0), control=measured("peer_1_0"), null=(1e-3, 10.0))
