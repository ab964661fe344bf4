"""The lean optimizer does what torch's does, and its state is torch's."""

import copy

import pytest
import torch

from conftest import net
from didact.loop.optimizer import LeanAdamW, OptimizerConfig


def gradients(module, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    return [p.grad for p in module.parameters()]


def mixed():
    """Parameters of two types, which no single kernel takes."""
    module = net()
    module[3].to(torch.bfloat16)
    return module


@pytest.mark.parametrize("make", [net, mixed])
def test_it_steps_like_torch_to_the_bit(make):
    mine, theirs = make(), make()
    lean = OptimizerConfig(lr=0.01, weight_decay=0.1).build(list(mine.parameters()))
    plain = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1, fused=True)
    assert isinstance(lean, LeanAdamW)
    for step in range(6):
        lean.advance(gradients(mine, step))
        gradients(theirs, step)
        plain.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(lean.state_dict()["state"].values(), plain.state_dict()["state"].values(), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_parameters_without_a_gradient_are_left_alone():
    module = net()
    lean = OptimizerConfig().build(list(module.parameters()))
    head = module[3].weight.detach().clone()
    for step in range(3):
        gradients(module, step)
        module[3].weight.grad = None
        lean.advance([p.grad for p in module.parameters() if p.grad is not None])
    assert torch.equal(module[3].weight, head)
    lean.advance(gradients(module, 9))
    assert not torch.equal(module[3].weight, head)


def test_state_taken_back_is_used():
    first, second = net(), net()
    one, other = (OptimizerConfig().build(list(m.parameters())) for m in (first, second))
    for step in range(3):
        one.advance(gradients(first, step))
    other.advance(gradients(second, 50))
    second.load_state_dict(first.state_dict())
    # torch keeps the very tensors it is given, which would be shared here.
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    one.advance(gradients(first, 7))
    other.advance(gradients(second, 7))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_can_be_told_to_stand_still():
    module = net()
    lean = OptimizerConfig().build(list(module.parameters()))
    lean.advance(gradients(module, 0))
    before = [p.detach().clone() for p in module.parameters()]
    lean.found_inf, lean.grad_scale = torch.ones(()), None
    lean.advance(gradients(module, 1))
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True))
