"""Two pairs of student and average, against their description, written out."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact.learners import ModuleLearner
from didact.methods.adaptation.dual_domain_teachers import Config, DualDomainTeachers
from didact.types import IGNORE, Batch
from transcribed import same_loss

X = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
VIEW = X + 0.3 * torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
LABEL = torch.tensor([0, 2, 1, 1, *[IGNORE] * 6])
BATCH = Batch({"id": torch.arange(10), "label": LABEL, "weak.x": X, "strong.x": VIEW})


def net(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def make(**options):
    method = DualDomainTeachers(Config(**options), ModuleLearner(net(0)), lambda _spec: ModuleLearner(net(1)))
    for seed, student in enumerate((method.learner, method.other)):
        for number, weight in enumerate(student.parameters()):
            weight.data += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(9 * seed + number))
    return method


@pytest.mark.parametrize("exchange", [0.0, 0.3])
def test_each_pair_learns_from_both_averages(exchange):
    method = make(more_target=0.7, less_target=0.4, exchange=exchange, threshold=0.42)
    students = [method.learner.module, method.other.module]
    with torch.no_grad():
        probs = [average.learner.module(X).softmax(1) for average in method.averages]
    assert 0 < sum((one[4:].amax(1) >= 0.42).sum() for one in probs) < 12
    wanted = 0.0
    for k, (student, share) in enumerate(zip(students, (0.7, 0.4), strict=True)):
        wanted = wanted + (1 - share) * F.cross_entropy(student(X[:4]), LABEL[:4])
        for who, part in ((k, 1 - exchange), (1 - k, exchange)):
            for i in range(4, 10):
                if probs[who][i].max() >= 0.42:
                    chosen = probs[who][i].argmax()
                    wanted = wanted - share * part / 6 * student(VIEW[i]).log_softmax(0)[chosen]
    same_loss(method.loss(BATCH).total(), wanted, [*students[0].parameters(), *students[1].parameters()])


def test_both_averages_follow_their_students_and_the_first_is_delivered():
    method = make(ema_decay=0.5)
    before = [copy.deepcopy(average.learner.module[0].weight) for average in method.averages]
    method.after_step()
    decay = min(0.5, 1 / 10)
    for old, average, student in zip(before, method.averages, (method.learner, method.other), strict=True):
        torch.testing.assert_close(
            average.learner.module[0].weight, decay * old + (1 - decay) * student.module[0].weight
        )
    assert method.delivered is method.averages[0].learner
    said, gate = method.own_labels(BATCH.view("weak"))
    probs = method.delivered.module(X).softmax(1)
    assert torch.equal(said, probs.argmax(1)) and torch.equal(gate, (probs.amax(1) >= 0.9).float())
