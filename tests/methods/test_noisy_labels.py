"""Methods for wrong labels, against transcriptions of their authors' code."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.losses.labels.confidence import loss_confidence
from didact.methods.noisy_labels import elr, kadel, sce
from didact.teachers import FrozenTeacher
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


def authors_confidence(losses, base):
    """`EM`, `cal_Prob` and the confidence of run_gen.py in DeepSoftwareAnalytics/KADEL, in NumPy."""
    share, mean, variance = np.array([0.5, 0.5]), np.array([0.0, 1.0]), np.array([1.0, 1.0])

    def density(x, mean, variance):
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    for i in range(200):
        belongs = np.stack([density(losses, mean[k], variance[k]) * share[k] for k in range(2)])
        belongs = belongs / belongs.sum(0)
        total = belongs.sum(1)
        moved = (losses * belongs).sum(1) / total
        # The authors take the variance around the mean of the round before, which at the end is the same.
        variance = np.array([(belongs[k] * (losses - moved[k]) ** 2).sum() / total[k] for k in range(2)])
        done = i > 0 and (np.abs(moved - mean) < 1e-5).all()
        share, mean = total / len(losses), moved
        if done:
            break
    clean = int(mean.argmin())
    right = density(losses, mean[clean], variance[clean] * 9) * share[clean]
    wrong = density(losses, mean[1 - clean], variance[1 - clean]) * share[1 - clean]
    return (right + base**-losses * wrong) / (right + wrong)


def test_kadel_and_its_gradient_are_those_of_the_authors():
    student, teacher = learner(), learner(seed=2)
    shown = batch(list(range(SIZE)))
    given = shown["label"].index_fill(0, torch.tensor([1, 4, 7]), IGNORE)
    method = kadel.Kadel(kadel.Config(base=2.0), student, SIZE, FrozenTeacher(teacher))
    hidden = Batch({**shown, "label": given})
    said = teacher(shown).logits.argmax(1)
    label = torch.where(given == IGNORE, said, given)
    plain = nn.functional.cross_entropy(student(shown).logits.double(), label, reduction="none")
    value, _ = gradient_of(method, hidden)
    assert value == pytest.approx(plain.mean().item(), rel=1e-5)
    method.fraction = 0.05
    method.after_step()
    assert method.losses.confidence.unique().tolist() == [1.0]
    method.loss(hidden)
    method.fraction = 0.1
    method.after_step()
    confidence = authors_confidence(plain.detach().numpy(), 2.0)
    assert confidence.min() < 0.9 < confidence.max()
    value, gradient = gradient_of(method, hidden)
    expected = (torch.from_numpy(confidence) * plain).mean()
    assert value == pytest.approx(expected.item(), rel=1e-4)
    for mine, theirs in zip(gradient, torch.autograd.grad(expected, list(student.parameters())), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-5)
    alone = kadel.Kadel(kadel.Config(), student, SIZE)
    assert alone.loss(hidden)["label"].count == 9


def test_equal_losses_leave_all_labels_alike():
    found = loss_confidence(torch.full((9,), 0.7))
    assert found.unique().numel() == 1 and bool(found.isfinite().all())
