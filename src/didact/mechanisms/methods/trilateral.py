"""The mechanism of `trilateral`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.losses.combining import trilateral_edges
from didact.mechanisms.checking import Found, below, mechanism
from didact.mechanisms.world import batch, normal, train
from didact.methods.distillation.trilateral import Config, Trilateral
from didact.teachers import FrozenTeacher
from didact.types import Batch

N, D, C = 240, 4, 3


class Half(nn.Module):
    """Reads one part of its input, the rows or what is told about them."""

    def __init__(self, columns: slice, module: nn.Module) -> None:
        super().__init__()
        self.columns, self.module = columns, module

    def forward(self, x: Tensor) -> Tensor:
        """What the module makes of its part."""
        return self.module(x[:, self.columns])


@mechanism(
    world="Three classes of points; the teacher is right about the first and surely wrong about the others.",
    effect="The learned ratio, of which held-out labels are the judge, trusts the teacher less where it is wrong.",
    control="A teacher that is right about all of them is trusted alike.",
    breaks=("flip Trilateral.held_out_loss",),
)
def a_wrong_teacher_is_trusted_less(seed: int) -> Found:
    """The mean ratio on the examples of the other classes, over that on the first class."""

    def measured(wrong: bool) -> float:
        label = torch.arange(N) % C
        said = torch.where(label > 0, C - label, label) if wrong else label
        x = torch.cat([2.0 * torch.eye(D)[label] + 0.7 * normal(N, D, seed=seed), 6.0 * torch.eye(C)[said]], 1)
        rows = Batch({**batch(N, C, x=x), "label": label})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, C))
        teacher = FrozenTeacher(ModuleLearner(Half(slice(D, None), nn.Identity()), head=None))
        method = Trilateral(Config(rate=0.5), ModuleLearner(Half(slice(0, D), net)), teacher, rows, seed)
        train(method, rows, steps=40, rate=0.05)
        with torch.no_grad():
            mine = method.learner(rows).logits.softmax(-1)
            theirs = (6.0 * torch.eye(C)[said]).softmax(-1)
            share = method.ratio(trilateral_edges(mine, theirs, label, method.means.mean))
        return float(share[label > 0].mean() / share[label == 0].mean())

    return Found(effect=measured(True), predicted=below(0.7), control=measured(False), null=(0.75, 1.5))
