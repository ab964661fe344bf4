"""Methods that take steps on trial, against transcriptions that really take them."""

import copy

import pytest
import torch
from torch.nn import functional as F

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner, holding, step_ahead, trained_weights
from didact.methods.semi_supervised import future_teacher, mean_teacher
from didact.methods.semi_supervised import self_meta_pseudo_labels as smpl
from didact.types import IGNORE, Batch, Terms

HALF = planted(40, labelled=0.5).batch()
X, LABEL = HALF["x"], HALF["label"]
KNOWN = LABEL != IGNORE
VIEWS = {"first.x": X + 0.1, "second.x": X - 0.1, "weak.x": X + 0.1, "strong.x": X - 0.3}
BATCH = Batch({**HALF, **VIEWS})


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


def make(**options):
    config = smpl.Config(ramp_up=0.0, threshold=0.5, **options)
    return smpl.SelfMetaPseudoLabels(config, ModuleLearner(net()), lambda _: ModuleLearner(net(seed=5)))


@pytest.mark.parametrize("teacher", ["own", "other"])
def test_the_feedback_is_the_fall_of_the_labelled_loss(teacher):
    method = make(labeller=teacher, rate=0.5, memory=0.75)
    judge, student = method.learner if teacher == "own" else method.other, method.learner
    pseudo = judge(BATCH.view("weak")).logits.argmax(-1)

    def labelled(one):
        return F.cross_entropy(one(BATCH.view("weak")).logits[KNOWN], LABEL[KNOWN])

    def towards(one):
        return F.cross_entropy(one(BATCH.view("strong")).logits, pseudo)

    falls, ahead = [], stepped(student, towards, 0.5)
    falls.append((labelled(student) - labelled(ahead)).item())
    target = (judge(BATCH.view("weak")).logits / 0.7).softmax(-1).detach()
    unsure = -(target * judge(BATCH.view("strong")).logits.log_softmax(-1)).sum(-1) * (target.amax(-1) >= 0.5)
    assert 0 < (target.amax(-1) >= 0.5).sum() < 40
    expected = labelled(judge) + 8.0 * unsure.mean() + 0.75 * falls[0] * towards(judge)
    expected = expected + (towards(student) if teacher == "other" else 0.0)
    found = method.loss(BATCH)
    torch.testing.assert_close(found.total(), expected)
    nets = [*judge.parameters(), *(student.parameters() if teacher == "other" else ())]
    for one, other in zip(*(torch.autograd.grad(value, nets) for value in (found.total(), expected)), strict=True):
        torch.testing.assert_close(one, other)
    # The same again: the running mean is now 0.75 · 0.25 + 0.25 of the fall.
    second = method.loss(BATCH)["feedback"].mean()
    torch.testing.assert_close(second, (1 - 0.4375) * falls[0] * towards(judge))


def test_without_a_trial_step_there_is_no_feedback():
    terms = make(rate=0.0).loss(BATCH)
    assert terms["feedback"].sum.item() == 0.0
    assert torch.equal(terms.total(), Terms(label=terms["label"], consistency=terms["consistency"]).total())


def test_values_that_never_work_are_refused():
    for module, options in (
        (smpl, {"labeller": "both"}),
        (smpl, {"temperature": 0.0}),
        (future_teacher, {"depth": -1}),
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            module.Config(**options)
