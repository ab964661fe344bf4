"""Perturbations against torchattacks' steps written out, and against closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.losses.attacks import attack

X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


def summed(model, x, labels=LABELS):
    return nn.functional.cross_entropy(model(x), labels, reduction="sum")


def slope_of(model, x, label):
    """The gradient of one example's loss, by hand."""
    first, second = model[1], model[3]
    hidden = np.tanh(first.weight.detach().double().numpy() @ x + first.bias.detach().double().numpy())
    logits = second.weight.detach().double().numpy() @ hidden + second.bias.detach().double().numpy()
    error = np.exp(logits) / np.exp(logits).sum() - np.eye(3)[label]
    back = (second.weight.detach().double().numpy().T @ error) * (1 - hidden**2)
    return first.weight.detach().double().numpy().T @ back


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_are_those_of_torchattacks(norm):
    """`PGD` and `PGDL2` of torchattacks/attacks in Harry24k/adversarial-attacks-pytorch, without a random start."""
    model, radius, step = net(), 0.3, 0.11
    found = attack(
        X, lambda x: summed(model, x), radius=radius, step=step, steps=4, norm=norm, bounds=(0.0, 1.0), start=False
    )
    for i, label in enumerate(LABELS.tolist()):
        clean = X[i].double().flatten().numpy()
        moved = clean.copy()
        for _ in range(4):
            slope = slope_of(model, moved, label)
            moved = moved + step * (np.sign(slope) if norm == "linf" else slope / np.linalg.norm(slope))
            change = moved - clean
            if norm == "linf":
                change = np.clip(change, -radius, radius)
            else:
                change = change * min(1.0, radius / np.linalg.norm(change))
            moved = np.clip(clean + change, 0, 1)
        np.testing.assert_allclose(found[i].flatten().numpy(), moved, atol=1e-5)


def test_one_step_without_a_start_is_fgsm():
    model = net()
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(summed(model, x), x)
    found = attack(X, lambda x: summed(model, x), radius=0.1, step=0.1, steps=1, start=False)
    torch.testing.assert_close(found, X + 0.1 * slope.sign())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_random_start_stays_in_the_ball_and_the_loss_rises(norm):
    model = net()
    torch.manual_seed(0)
    drawn = attack(X, lambda x: summed(model, x), radius=0.2, step=0.1, steps=0, norm=norm, bounds=(0.0, 1.0))
    found = attack(X, lambda x: summed(model, x), radius=0.2, step=0.1, steps=5, norm=norm, bounds=(0.0, 1.0))
    for moved in (drawn, found):
        change = (moved - X).flatten(1)
        size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        assert float(size.min()) > 0.0 and float(size.max()) <= 0.2 + 1e-6
        assert float(moved.min()) >= 0.0 and float(moved.max()) <= 1.0 and not moved.requires_grad
    assert summed(model, found) > summed(model, X)
    assert all(weight.grad is None for weight in model.parameters())


def test_against_a_linear_loss_the_best_change_is_found():
    """Of w·x within a ball the largest value is w·x + radius |w|, in the dual norm."""
    weight = torch.tensor([3.0, -4.0])
    x = torch.zeros(2, 2)
    for norm, best in (("linf", 7.0), ("l2", 5.0)):
        found = attack(x, lambda x: (x @ weight).sum(), radius=1.0, step=0.5, steps=20, norm=norm)
        torch.testing.assert_close(found @ weight, torch.full((2,), best), atol=1e-4, rtol=0)
    each = attack(x, lambda x: (x @ weight).sum(), radius=torch.tensor([[1.0], [2.0]]), step=0.5, steps=9)
    torch.testing.assert_close(each @ weight, torch.tensor([7.0, 14.0]))
    with pytest.raises(ConfigError, match="norm is 'l1'"):
        attack(x, lambda x: x.sum(), radius=1.0, step=0.5, steps=1, norm="l1")
