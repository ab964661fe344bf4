"""Heads on stages, and where the stages are."""

import torch
from torch import nn

from didact.learners import AuxiliaryHead, ModuleLearner, pool_features, stage_names


def test_positions_are_averaged():
    x = torch.arange(24.0).view(2, 3, 2, 2)
    assert torch.equal(pool_features(x), x.sum((2, 3)) / 4)
    assert torch.equal(pool_features(x.view(2, 4, 3)), x.view(2, 4, 3).sum(1) / 4)
    assert pool_features(x[:, :, 0, 0]).shape == (2, 3)
    head = AuxiliaryHead(3, 5, seed=1)
    assert torch.allclose(head(x), (x.sum((2, 3)) / 4) @ head.linear.weight.T + head.linear.bias)


def test_stages_are_the_parts_below_the_head():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 2))
    assert stage_names(ModuleLearner(net)) == ("1", "3")
    assert stage_names(ModuleLearner(nn.Sequential(nn.Linear(4, 2)))) == ("hidden",)
