"""The gradient through a virtual step against finite differences, and against what the step's length makes of it."""

import copy

import pytest
import torch
from torch.nn import functional as F

from conftest import net, planted
from didact.learners import ModuleLearner, functional_forward, maml_step
from didact.types import Batch

NEW, OLD = (
    Batch({k: t.double() if t.is_floating_point() else t for k, t in planted(12, seed=s).batch().items()})
    for s in (0, 4)
)


def entropy(output, batch):
    return F.cross_entropy(output.logits, batch["label"])


def outcome(learner, rate):
    ahead = maml_step(learner, entropy(learner(NEW), NEW), rate=rate)
    return entropy(functional_forward(learner, ahead, OLD), OLD)


def test_the_virtual_step_is_the_real_one():
    learner = ModuleLearner(net()).double()
    real = copy.deepcopy(learner)
    entropy(real(NEW), NEW).backward()
    with torch.no_grad():
        for parameter in real.parameters():
            parameter -= 0.5 * parameter.grad
    assert outcome(learner, 0.5).item() == pytest.approx(entropy(real(OLD), OLD).item())


def test_the_gradient_flows_through_the_step():
    learner = ModuleLearner(net()).double()
    weight = learner.module[3].weight
    outcome(learner, 0.5).backward()
    found = weight.grad.clone()
    for i, j in ((0, 0), (1, 3), (2, 7)):
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[i, j] += sign * 1e-5
            sides.append(outcome(learner, 0.5).item())
            with torch.no_grad():
                weight[i, j] -= sign * 1e-5
        assert found[i, j].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4)
    learner.zero_grad()
    ahead = {
        name: p.detach().requires_grad_()
        for name, p in maml_step(learner, entropy(learner(NEW), NEW), rate=0.5).items()
    }
    entropy(functional_forward(learner, ahead, OLD), OLD).backward()
    assert not torch.allclose(ahead["module.3.weight"].grad, found, rtol=1e-3)


def test_without_a_length_the_weights_are_its_own():
    learner = ModuleLearner(net()).double()
    learner.module[0].weight.requires_grad_(False)
    ahead = maml_step(learner, entropy(learner(NEW), NEW), rate=0.0)
    assert "module.0.weight" not in ahead
    assert all(ahead[name] is p for name, p in learner.named_parameters() if p.requires_grad)
