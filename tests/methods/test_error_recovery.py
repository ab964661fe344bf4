"""Stable Mean Teacher, against its authors' terms for one logit a pixel."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact.errors import DataError
from didact.learners import ModuleLearner
from didact.learners.maps import PixelNet
from didact.methods.semi_supervised.error_recovery import Config, ErrorRecovery
from didact.types import IGNORE, MASK, Batch, pixels_of

CHANCE = torch.Generator().manual_seed(0)
FRAMES, SIDE, WIDTH = 3, 4, 5
X = torch.rand(4, 2, FRAMES * SIDE, WIDTH, generator=CHANCE)
BATCH = Batch({
    "x": X, "weak.x": X + 0.1, "strong.x": X - 0.2, MASK: torch.randint(0, 2, X[:, 0].shape, generator=CHANCE),
    "label": torch.tensor([0, IGNORE, 0, IGNORE]), "id": torch.arange(4), "row": torch.arange(4),
})  # fmt: skip


def logit(maps):
    """Two scores of each pixel as the one of the authors: [B, 1, T, H, W]."""
    return (maps[:, 1] - maps[:, 0]).unflatten(1, (FRAMES, SIDE))[:, None].double()


def total(student, corrector, teacher, repairer, fraction):
    """`train_model_interface` with --opt3 --opt4 --const_loss l2 --wt_cons 0.1, without the Dice loss and classes."""
    ramp = 1.0 if fraction >= 0.32 else math.exp(-5.0 * (1.0 - fraction / 0.32) ** 2)
    truth = BATCH[MASK].unflatten(1, (FRAMES, SIDE))[:, None].double()
    known = [0, 2]
    maps = student(X - 0.2)
    mine = logit(maps)
    repaired = logit(corrector(maps.detach().softmax(1)))
    with torch.no_grad():
        said = teacher(X + 0.1)
        better = logit(repairer(said.softmax(1)))
        said = logit(said)
    main = F.mse_loss(mine, said) + F.mse_loss(mine.diff(dim=2), said.diff(dim=2))
    aux = F.mse_loss(mine, better) + F.mse_loss(mine.diff(dim=2), better.diff(dim=2))
    labels = [F.binary_cross_entropy_with_logits(one[known], truth[known]) for one in (mine, repaired)]
    return sum(labels) + 0.1 * (ramp * aux + ramp * main) * ramp


@pytest.mark.parametrize("fraction", [0.16, 0.7])
def test_stable_mean_teacher_is_the_authors(fraction):
    torch.manual_seed(0)
    net = nn.Conv2d(2, 2, 3, padding=1)
    method = ErrorRecovery(Config(frames=FRAMES, width=4), ModuleLearner(PixelNet(net), head=None), pixels_of(BATCH), 1)
    method.fraction = fraction
    teacher = method.teacher.learner.module.module
    for weight in (*teacher.parameters(), *method.repairer.learner.parameters()):
        weight.data.add_(torch.randn(weight.shape, generator=CHANCE), alpha=0.3)
    wanted = total(net, method.corrector, teacher, method.repairer.learner, fraction)
    mine = [*net.parameters(), *method.corrector.parameters()]
    slopes = torch.autograd.grad(wanted, mine)
    found = method.loss(pixels_of(BATCH)).total()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    for one, other in zip(torch.autograd.grad(found, mine), slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert other.abs().sum() > 0


def test_both_averages_follow_and_images_alone_have_no_differences():
    torch.manual_seed(0)
    net = nn.Conv2d(2, 2, 1)
    method = ErrorRecovery(Config(width=4), ModuleLearner(PixelNet(net), head=None), pixels_of(BATCH))
    assert set(method.loss(pixels_of(BATCH))) == {"label", "repair", "teacher", "recovered"}
    before = [average.learner.state_dict() for average in (method.teacher, method.repairer)]
    before = [{name: tensor.clone() for name, tensor in state.items()} for state in before]
    for weight in (*net.parameters(), *method.corrector.parameters()):
        weight.data.fill_(1.0)
    method.after_step()
    for state, average in zip(before, (method.teacher, method.repairer), strict=True):
        for name, tensor in average.learner.state_dict().items():
            torch.testing.assert_close(tensor, 0.1 * state[name] + 0.9)
    assert method.delivered is method.teacher.learner
    with pytest.raises(DataError, match="12 rows, which are not 5 frames"):
        ErrorRecovery(Config(frames=5), method.learner, pixels_of(BATCH))
