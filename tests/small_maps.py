"""Images with masks of a few pixels, small nets for them, and the slope of a loss that is written out."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.learners.maps import PixelNet
from didact.types import IGNORE, MASK, Batch, pixels_of

B, C, H, W = 4, 3, 5, 6
CHANCE = torch.Generator().manual_seed(0)
VIEWS = {name: torch.rand(B, 2, H, W, generator=CHANCE) for name in ("x", "weak.x", "strong.x", "first.x", "second.x")}
MASKS = torch.randint(0, C, (B, H, W), generator=CHANCE)
LABEL = torch.tensor([0, IGNORE, 0, IGNORE])
IMAGES = Batch({**VIEWS, MASK: MASKS, "label": LABEL, "id": torch.arange(B), "row": torch.arange(B)})
PIXELS = pixels_of(IMAGES)
KNOWN = (PIXELS["label"] != IGNORE).numpy()


def net(seed, scale=1.0):
    torch.manual_seed(seed)
    inner = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, C, 1))
    with torch.no_grad():
        inner[2].weight.mul_(scale)
    return ModuleLearner(PixelNet(inner), head=None)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def said(learner, view):
    with torch.no_grad():
        return learner(PIXELS.view(view) if view else PIXELS).logits.double().numpy()


def check_slope(learner, method, loss):
    """The gradient of the total with respect to a weight is the slope of a loss written out."""
    learner.zero_grad()
    method().backward()
    weight, ends = learner.module.module[2].weight, []
    with torch.no_grad():
        for move in (1e-3, -2e-3):
            weight[0, 1] += move
            ends.append(loss())
        weight[0, 1] += 1e-3
    assert weight.grad[0, 1].item() == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=2e-2, abs=1e-4)
