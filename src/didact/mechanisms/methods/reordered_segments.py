"""The mechanism of `reordered_segments`."""

import math

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.semi_supervised.reordered_segments import Config, ReorderedSegments
from didact.types import IGNORE, Batch

N, PASSES = 40, 400


def shown(x: torch.Tensor) -> Batch:
    """Unlabelled series, the same in both views."""
    label = torch.full((len(x),), IGNORE)
    return Batch({"x": x, "weak.x": x, "strong.x": x, "label": label, "id": torch.arange(len(x))})


@mechanism(
    world="A student with one feature, without which it is at a loss; under dropout it has it half of the time.",
    effect="With a probability of 1 or a half, whose mean is 3/4 and whose deviation 1/4, a label weighs 0.071.",
    control="Without weights for steadiness it weighs 1.",
    breaks=("drop steady_gate", "flip steady_gate"),
)
def an_unsteady_answer_weighs_little(seed: int) -> Found:
    """The mean weight of the labels."""
    x = torch.ones(N, 1, 8)

    def measured(steady: bool) -> float:
        head = nn.Linear(1, 2)
        with torch.no_grad():
            head.weight.copy_(torch.tensor([[20.0], [0.0]]))
            head.bias.zero_()
        net = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), head)
        method = ReorderedSegments(Config(passes=PASSES, steady=steady), ModuleLearner(net), shown(x))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return float(method.loss(shown(x))["admitted"].mean())

    sure = 2.0 / (1.0 + math.exp(math.e - math.exp(0.75)))
    steady = 2.0 / (1.0 + math.exp(-1.0 / (20.0 * 0.25))) - 1.0
    return Found(effect=measured(True), predicted=near(sure * steady, 0.03), control=measured(False), null=near(1.0))


@mechanism(
    world="A linear student, whose gradient is the input; series with a mark at the first step of each part.",
    effect="Where all parts pass backwards, the mark is learned at the last step of a part.",
    control="Where none does, it is learned at the first one.",
    breaks=("bypass reorder", "drop pseudo_label_terms"),
)
def the_student_learns_from_parts_that_pass_backwards(seed: int) -> Found:
    """The step of the first part that is learned; NaN if nothing is."""
    length = 4 + seed
    x = torch.zeros(N, 1, 2 * length)
    x[:, :, [0, length]] = 1.0

    def measured(turned: float) -> float:
        head = nn.Linear(2 * length, 3)
        net = nn.Sequential(nn.Flatten(), head)
        method = ReorderedSegments(Config(segments=2, turned=turned), ModuleLearner(net), shown(x))
        method.fraction = 1.0
        (slope,) = torch.autograd.grad(method.loss(shown(x)).total(), [head.weight])
        first = slope[:, :length].abs().sum(0)
        return float(first.argmax()) if bool(first.any()) else float("nan")

    return Found(effect=measured(1.0), predicted=near(3.0 + seed), control=measured(0.0), null=near(0.0))
