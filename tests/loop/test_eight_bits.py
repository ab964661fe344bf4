"""AdamW with moments of 8 bits."""

import sys

import pytest
import torch
from torch import nn

from didact.errors import MissingExtraError
from didact.loop import OptimizerConfig
from didact.loop.optimizer import restore

SETTINGS = OptimizerConfig(name="adamw8bit", lr=0.01, weight_decay=0.0, schedule="constant")


def test_it_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(MissingExtraError, match=r"torchao.*didact\[lowbit\]"):
        SETTINGS.build([nn.Parameter(torch.zeros(2))])


def steps(optimizer, weights, count):
    for _ in range(count):
        weights.grad = weights.detach() - torch.linspace(-1.0, 1.0, weights.numel()).view_as(weights)
        optimizer.param_groups[0]["lr"] = 0.01
        optimizer.step()


@pytest.mark.filterwarnings("ignore")
def test_it_steps_as_adamw_for_a_quarter_of_the_moments_and_resumes_to_the_bit():
    pytest.importorskip("torchao.optim")
    first, again, exact = (nn.Parameter(torch.zeros(64, 128)) for _ in range(3))
    optimizer, other = SETTINGS.build([first]), SETTINGS.build([again])
    steps(optimizer, first, 10)
    steps(OptimizerConfig(lr=0.01, weight_decay=0.0).build([exact]), exact, 10)
    assert (first - exact).abs().mean() < 0.1 * exact.abs().mean()
    state = optimizer.state_dict()
    parts = [t for kept in state["state"][0].values() for t in (kept.values() if isinstance(kept, dict) else (kept,))]
    assert sum(t.nbytes for t in parts) < 0.27 * 2 * first.nbytes
    with torch.no_grad():
        again.copy_(first)
    restore(other, dict(state))
    steps(optimizer, first, 5)
    steps(other, again, 5)
    assert torch.equal(first, again)
