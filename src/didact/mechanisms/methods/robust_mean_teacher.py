"""The mechanism of `robust_mean_teacher`."""

import math

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms import world
from didact.mechanisms.checking import Found, above, mechanism, near
from didact.methods.adaptation.robust_mean_teacher import Config, RobustMeanTeacher
from didact.types import Batch

N, D, C, STEPS = 24, 8, 4, 20


@mechanism(
    world="A net whose weights were moved away from those of its average, on rows in two views.",
    effect="The student comes back to the average: the divergence of their predictions shrinks to less than half.",
    control="With weight 0, and no contrast, nothing moves it.",
    breaks=("flip symmetric_cross_entropy", "drop symmetric_cross_entropy"),
)
def the_student_is_pulled_to_its_average(seed: int) -> Found:
    """How many times the squared distance of the probabilities is smaller after some steps."""
    x = world.normal(N, D, seed=seed)
    shown = Batch({"x": x, "augmented.x": x, "id": torch.arange(N)})

    def measured(weight: float) -> float:
        method = RobustMeanTeacher(Config(weight=weight, contrast=0.0), ModuleLearner(net(seed)), seed)
        with torch.no_grad():
            for number, part in enumerate(method.learner.parameters()):
                part.add_(0.5 * world.normal(*part.shape, seed=seed + number + 1))
        before = apart(method, shown)
        world.train(method, shown, steps=STEPS, rate=0.03)
        return before / apart(method, shown)

    return Found(effect=measured(1.0), predicted=above(2.0), control=measured(0.0), null=near(1.0))


@mechanism(
    world="Rows whose features are those of the head's rows, in two views.",
    effect="Each row's nearest prototype is its own, from which the contrast pulls it to no other: it is the lowest.",
    control="The augmented views are those of other rows, which have other prototypes.",
    breaks=("flip multi_view_nt_xent", "drop multi_view_nt_xent", "flip RobustMeanTeacher.nearest"),
)
def features_are_contrasted_with_the_nearest_prototype(seed: int) -> Found:
    """The contrast in nats, for one row a class."""
    learner = ModuleLearner(nn.Sequential(nn.Identity(), nn.Linear(D, D)))
    with torch.no_grad():
        learner.get_parameter("module.1.weight").copy_(torch.eye(D))
    method = RobustMeanTeacher(Config(weight=0.0), learner, seed)
    method.projection = nn.Sequential(nn.Identity())
    x = method.prototypes.value * (1.0 + seed)

    def measured(augmented: torch.Tensor) -> float:
        shown = Batch({"x": x, "augmented.x": augmented, "id": torch.arange(D)})
        return float(method.loss(shown)["contrast"].mean().detach())

    # Two positives at cosine 1, and three views of each of the other classes at cosine 0.
    alike = math.log(2.0 + 3.0 * (D - 1) * math.exp(-10.0))
    return Found(effect=measured(x), predicted=near(alike), control=measured(x.roll(1, 0)), null=(2.0, 20.0))


def net(seed: int) -> nn.Module:
    """A net with a hidden layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(D, D), nn.Tanh(), nn.Linear(D, C))


def apart(method: RobustMeanTeacher, shown: Batch) -> float:
    """The squared distance between the probabilities of student and average."""
    with torch.no_grad():
        own, average = method.learner(shown).logits.softmax(1), method.teacher.learner(shown).logits.softmax(1)
    return float((own - average).square().sum())
