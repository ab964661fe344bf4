"""A virtual step against one that is really taken, and its gradient against finite differences."""

import copy

import pytest
import torch
from torch.nn import functional as F

from conftest import net, planted
from didact.learners import ModuleLearner, functional_forward, virtual_step

BATCH = planted(12).batch()
LATER = planted(9, seed=4).batch()


def loss_of(output, weights):
    return (weights * F.cross_entropy(output.logits, BATCH["label"], reduction="none")).mean()


def outcome(learner, weights):
    ahead = virtual_step(learner, BATCH, lambda output: loss_of(output, weights), rate=0.5)
    return F.cross_entropy(functional_forward(learner, ahead, LATER).logits, LATER["label"])


def test_the_virtual_step_is_the_real_one():
    learner = ModuleLearner(net(), taps=["1"]).double()
    batch = {key: t.double() if t.is_floating_point() else t for key, t in BATCH.items()}
    weights = torch.rand(12, dtype=torch.float64)
    real = copy.deepcopy(learner)
    before = copy.deepcopy(learner.state_dict())
    from didact.types import Batch

    ahead = virtual_step(learner, Batch(batch), lambda output: loss_of(output, weights), rate=0.5)
    loss_of(real(Batch(batch)), weights).backward()
    with torch.no_grad():
        for parameter in real.parameters():
            parameter -= 0.5 * parameter.grad
    for name, parameter in real.named_parameters():
        torch.testing.assert_close(ahead[name], parameter)
    found, expected = functional_forward(learner, ahead, Batch(batch)), real(Batch(batch))
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.features["1"], expected.features["1"])
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_the_gradient_through_the_step_is_that_of_finite_differences():
    learner = ModuleLearner(net())
    weights = torch.rand(12, generator=torch.Generator().manual_seed(0)).requires_grad_()
    outcome(learner, weights).backward()
    assert all(p.grad is None for p in learner.parameters())
    for i in range(3):
        nudge = torch.zeros(12)
        nudge[i] = 0.2
        difference = outcome(learner, (weights + nudge).detach()) - outcome(learner, (weights - nudge).detach())
        assert weights.grad[i].item() == pytest.approx(difference.item() / 0.4, rel=0.05, abs=1e-5)


def test_frozen_parameters_take_no_step():
    learner = ModuleLearner(net())
    learner.module[0].requires_grad_(False)
    ahead = virtual_step(learner, BATCH, lambda output: output.logits.sum(), rate=0.1)
    assert set(ahead) == {"module.3.weight", "module.3.bias"}
