"""Steps on trial, and the method that takes them, against a transcription that really takes them."""

import copy

import pytest
import torch
from torch.nn import functional as F

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner, holding, step_ahead, trained_weights
from didact.methods.semi_supervised import future_teacher, mean_teacher
from didact.types import IGNORE, Batch

HALF = planted(40, labelled=0.5).batch()
X, LABEL = HALF["x"], HALF["label"]
KNOWN = LABEL != IGNORE
BATCH = Batch({**HALF, "first.x": X + 0.1, "second.x": X - 0.1})


def stepped(module, loss, rate):
    """A copy of a net after a step of plain gradient descent."""
    ahead = copy.deepcopy(module)
    loss(ahead).backward()
    with torch.no_grad():
        for parameter in ahead.parameters():
            parameter -= rate * parameter.grad
    return ahead


def close(found, expected, **tolerance):
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def test_a_step_ahead_leaves_the_learner_and_goes_where_gradient_descent_goes():
    learner = ModuleLearner(net())
    before = copy.deepcopy(learner)
    weights = step_ahead(trained_weights(learner), learner(BATCH).logits.square().mean(), rate=0.3)
    close(learner, before, rtol=0, atol=0)
    with holding(learner, weights):
        close(learner, stepped(before, lambda one: one(BATCH).logits.square().mean(), 0.3))
    close(learner, before, rtol=0, atol=0)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_teacher_has_seen_the_steps_ahead(depth):
    """The order of the authors' `train_step`: the average follows the student, and then each of its steps ahead."""
    config = future_teacher.Config(depth=depth, rate=0.2, weight=10.0, ramp_up=0.0, ema_decay=0.6)
    method = future_teacher.FutureTeacher(config, ModuleLearner(net()))
    method.teacher.warmup = False
    student, average = copy.deepcopy(method.learner), copy.deepcopy(method.learner)

    def total(one):
        apart = (
            one(BATCH.view("first")).logits.softmax(-1) - average(BATCH.view("second")).logits.softmax(-1).detach()
        ) ** 2
        labelled = F.cross_entropy(one(BATCH.view("first")).logits[KNOWN], LABEL[KNOWN])
        return labelled + 10.0 * apart.mean()

    future = student
    for _ in range(depth):
        future = stepped(future, total, 0.2)
        with torch.no_grad():
            for one, other in zip(average.parameters(), future.parameters(), strict=True):
                one.copy_(0.6 * one + 0.4 * other)
    found = method.loss(BATCH).total()
    torch.testing.assert_close(found, total(student))
    close(method.teacher.learner, average)
    close(method.learner, student, rtol=0, atol=0)


def run(method, steps=4):
    """The losses of a few steps."""
    optimizer, losses = torch.optim.SGD(method.parameters(), lr=0.1), []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(method.loss(BATCH).total())
        losses[-1].backward()
        optimizer.step()
        method.after_step()
    return torch.stack(losses).detach()


def test_without_a_step_ahead_it_is_mean_teacher_to_the_bit():
    common = {"ema_decay": 0.9, "weight": 10.0, "ramp_up": 0.0}
    plain = mean_teacher.MeanTeacher(mean_teacher.Config(**common), ModuleLearner(net()))
    depths = {
        depth: future_teacher.FutureTeacher(future_teacher.Config(depth=depth, **common), ModuleLearner(net()))
        for depth in (0, 1)
    }
    expected = run(plain)
    assert torch.equal(run(depths[0]), expected)
    close(depths[0].delivered, plain.delivered, rtol=0, atol=0)
    assert not torch.equal(run(depths[1]), expected)


def test_a_depth_that_never_works_is_refused():
    with pytest.raises(ConfigError, match="depth"):
        future_teacher.Config(depth=-1)
