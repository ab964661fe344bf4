"""The mechanism of `talking_models`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.world import batch, normal, student, table_of, teacher, train
from didact.methods.distillation.talking_models import Config, TalkingModels
from didact.teachers import FrozenTeacher

N, D, C = 48, 4, 3


def explained(found: Tensor, said: Tensor) -> float:
    """The share of the variance that a linear map of the other explains."""
    left, right = (one - one.mean(0) for one in (found, said))
    residual = right - left @ torch.linalg.lstsq(left, right).solution
    return 1.0 - float(residual.square().sum() / right.square().sum())


@mechanism(
    world="A student and a teacher, both tables of states, without labels.",
    effect="The student's states come to hold what the teacher's messages say: the teacher's states are read off them.",
    control="The teacher's rows are shuffled among the examples.",
    breaks=("flip relative_mse", "drop relative_mse", "shuffle relative_mse"),
)
def states_hold_what_the_messages_say(seed: int) -> Found:
    """The share of the variance of the teacher's states that the student's explain."""
    rows, theirs = batch(N, C, seed), normal(N, 3, seed=seed + 50)

    def measured(shown: Tensor) -> float:
        config = Config(teacher_tap="hidden", message=8, consistency=1.0)
        method = TalkingModels(config, student(normal(N, D, seed=seed), C), teacher(shown, C), rows, seed)
        train(method, rows, "student", "teacher", steps=60, rate=0.1)
        return explained(table_of(method).detach(), theirs)

    return Found(effect=measured(theirs), predicted=above(0.4), control=measured(theirs.roll(1, 0)), null=(0.0, 0.25))


@mechanism(
    world="A student that is a table, and a teacher of three layers.",
    effect="The reply goes through the teacher's remaining layers, and trains what the student asks.",
    control="One-way communication, in which the student asks nothing.",
    breaks=("drop label_loss",),
)
def a_reply_trains_what_was_asked(seed: int) -> Found:
    """The size of the gradient of `heard` at the student's encoder."""
    rows = batch(N, C, seed, x=normal(N, D, seed=seed))

    def net(widths: tuple[int, ...], own: int) -> ModuleLearner:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            layers = [nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in zip((D, *widths), widths, strict=False)]
            return ModuleLearner(nn.Sequential(*layers, nn.Linear(widths[-1], C)))

    def measured(rounds: int) -> float:
        told = FrozenTeacher(net((6, 5), seed + 50))
        method = TalkingModels(Config(rounds=rounds, teacher_tap="0"), net((6,), seed), told, rows, seed)
        weights = list(method.student_encoder.parameters())
        slopes = torch.autograd.grad(method.loss(rows)["heard"].mean(), weights, allow_unused=True)
        return sum(float(slope.norm()) for slope in slopes if slope is not None)

    return Found(effect=measured(1), predicted=above(1e-4), control=measured(0), null=near(0.0))
