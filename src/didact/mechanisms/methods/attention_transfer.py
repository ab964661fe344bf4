"""The mechanism of `attention_transfer`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, below, mechanism
from didact.mechanisms.world import Rows, batch, normal
from didact.methods.distillation.attention_transfer import AttentionTransfer, Config
from didact.teachers import FrozenTeacher

N, CHANNELS, SIDE = 8, 6, 4


def learner(maps: Tensor) -> ModuleLearner:
    """Feature maps that are a table, tapped as `maps`."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * SIDE * SIDE, 3))
    return ModuleLearner(nn.Sequential(Rows(maps), head), inputs=("row",))


@mechanism(
    world="Tables of feature maps.",
    effect="Attention is where the squares of the channels are large: other channels, signs and scales have the same.",
    control="The maps are turned upside down.",
    breaks=("drop attention_transfer", "flip attention_transfer"),
)
def attention_is_the_same_in_other_channels(seed: int) -> Found:
    """The squared distance of the attention maps."""
    rows, theirs = batch(N, 3, seed), normal(N, CHANNELS, SIDE, SIDE, seed=seed)
    taps = Config(student_taps=("0",), teacher_taps=("0",), weight=1.0)

    def measured(mine: Tensor) -> float:
        method = AttentionTransfer(taps, learner(mine), FrozenTeacher(learner(theirs)), rows)
        return float(method.loss(rows)["attention"].mean().detach())

    other = -2.0 * theirs[:, torch.randperm(CHANNELS, generator=torch.Generator().manual_seed(seed))]
    return Found(effect=measured(other), predicted=below(1e-5), control=measured(other.flip(2)), null=(0.05, 2.0))
