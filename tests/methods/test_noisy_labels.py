"""Methods for wrong labels, against transcriptions of their authors' code."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.methods.noisy_labels import elr, sce
from didact.types import IGNORE, Batch

CLASSES, SIZE = 4, 12


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learner(seed=1):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Linear(3, CLASSES))


def batch(rows, seed=0):
    rows = torch.tensor(rows)
    labels = torch.randint(CLASSES, (SIZE,), generator=torch.Generator().manual_seed(seed))
    return Batch({"x": normal(SIZE, 3)[rows] * 3, "label": labels[rows], "row": rows, "id": rows + 100})


def gradient_of(method, shown):
    terms = method.loss(shown)
    return terms.total().item(), torch.autograd.grad(terms.total(), list(method.learner.parameters()))


class AuthorsElr:
    """`elr_loss` of ELR/model/loss.py in shengliu66/ELR, with its `beta` and `lambda`, in double precision."""

    def __init__(self, beta, weight):
        self.target, self.beta, self.weight = torch.zeros(SIZE, CLASSES, dtype=torch.float64), beta, weight

    def __call__(self, index, output, label):
        pred = torch.clamp(output.softmax(1), 1e-4, 1.0 - 1e-4)
        fixed = pred.detach()
        self.target[index] = self.beta * self.target[index] + (1 - self.beta) * fixed / fixed.sum(1, keepdim=True)
        regulariser = (1 - (self.target[index] * pred).sum(1)).log().mean()
        return nn.functional.cross_entropy(output, label) + self.weight * regulariser


def test_elr_and_its_gradient_are_those_of_the_authors():
    method = elr.EarlyLearningRegularization(elr.Config(weight=2.0, average_decay=0.6), learner(), batch([0, 1]), SIZE)
    authors = AuthorsElr(0.6, 2.0)
    for rows in ([0, 1, 2, 3], [2, 3, 4, 5], [2, 0, 6, 5]):
        shown = batch(rows)
        value, gradient = gradient_of(method, shown)
        weight, bias = (p.detach().double().requires_grad_() for p in method.learner.parameters())
        expected = authors(shown["row"], shown["x"].double() @ weight.T + bias, shown["label"])
        assert value == pytest.approx(expected.item(), rel=1e-5)
        for mine, theirs in zip(gradient, torch.autograd.grad(expected, [weight, bias]), strict=True):
            np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6)
        with torch.no_grad():
            for parameter in method.learner.parameters():
                parameter.add_(normal(*parameter.shape, seed=len(rows)) * 0.3)


def authors_symmetric(probs, one_hot, alpha, beta):
    """`symmetric_cross_entropy` of loss.py in YisenWang/symmetric_cross_entropy_for_noisy_labels."""
    forward = -(one_hot * probs.clamp(1e-7, 1.0).log()).sum(-1).mean()
    backward = -(probs * one_hot.clamp(1e-4, 1.0).log()).sum(-1).mean()
    return alpha * forward + beta * backward


def test_sce_and_its_gradient_are_those_of_the_authors():
    method = sce.SymmetricCrossEntropy(sce.Config(alpha=0.3, beta=0.7), learner())
    shown = batch([0, 1, 2, 3, 4, 5])
    hidden = Batch({**shown, "label": shown["label"].index_fill(0, torch.tensor([1, 4]), IGNORE)})
    value, gradient = gradient_of(method, hidden)
    weight, bias = (p.detach().double().requires_grad_() for p in method.learner.parameters())
    kept = torch.tensor([0, 2, 3, 5])
    probs = (shown["x"][kept].double() @ weight.T + bias).softmax(-1)
    one_hot = nn.functional.one_hot(shown["label"][kept], CLASSES).double()
    expected = authors_symmetric(probs, one_hot, 0.3, 0.7)
    assert value == pytest.approx(expected.item(), rel=1e-5)
    for mine, theirs in zip(gradient, torch.autograd.grad(expected, [weight, bias]), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6)
    soft = Batch({**shown, "label": nn.functional.one_hot(shown["label"], CLASSES).float()})
    assert method.loss(soft).total().item() == pytest.approx(method.loss(shown).total().item(), rel=1e-5)
