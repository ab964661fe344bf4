"""The MCMI teacher against a transcription."""

import numpy as np
import pytest
import torch

from conftest import net
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.memory import SignalCache
from didact.methods.distillation.mcmi_teacher import Config, McmiTeacher
from didact.teachers import CachedTeacher, FrozenTeacher, RandomTeacher
from didact.types import IGNORE, Batch

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 1, IGNORE, 2, 0, IGNORE, 1, 1])
BATCH = Batch({"x": X, "label": LABEL, "id": torch.arange(8)})


def softmax(rows):
    e = np.exp(rows - rows.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def answers(module):
    with torch.no_grad():
        return module(X).double().numpy()


def make(teacher, **options):
    return McmiTeacher(Config(**options), ModuleLearner(net()), teacher, BATCH)


def test_the_teacher_gains_likelihood_and_information():
    module = net(16, seed=9)
    method = make(FrozenTeacher(ModuleLearner(module)), information=0.4)
    logits = answers(module)
    label = np.where(LABEL.numpy() >= 0, LABEL.numpy(), logits.argmax(-1))
    p = softmax(logits)
    likelihood = -np.log(p[np.arange(8), label]).mean()
    mean = np.array([p[label == y].mean(0) for y in label])
    information = (p * np.log(p / mean)).sum(-1).mean()
    terms = method.loss(BATCH)
    assert terms.total().item() == pytest.approx(likelihood - 0.4 * information, rel=1e-5)
    assert {name: float(method.counts(BATCH)[name]) for name in terms} == {"likelihood": 8, "information": 8}


def test_gradients_flow_through_the_predictions_and_not_through_their_means():
    """d KL(P || Q) / dz_c = P_c (log P_c / Q_c - KL) with Q held fixed."""
    module = net(16, seed=9)
    method = make(FrozenTeacher(ModuleLearner(module)))
    method.loss(BATCH)["information"].sum.backward()
    p = softmax(answers(module))
    label = np.where(LABEL.numpy() >= 0, LABEL.numpy(), p.argmax(-1))
    ratio = np.log(p / np.array([p[label == y].mean(0) for y in label]))
    slope = p * (ratio - (p * ratio).sum(-1, keepdims=True))
    assert method.tuned.module[-1].bias.grad.numpy() == pytest.approx(slope.sum(0), abs=1e-5)
    assert all(p.grad is None for p in module.parameters())


def test_the_tuned_teacher_starts_from_the_original_as_it_is_when_the_run_begins():
    original = ModuleLearner(net(16, seed=9))
    cached = CachedTeacher(FrozenTeacher(original), SignalCache(torch.arange(8)))
    method = make(cached)
    with torch.no_grad():
        original.module[0].weight.add_(0.5)
    method.loss(BATCH)
    assert torch.equal(method.tuned.module[0].weight, original.module[0].weight)
    method.step = 1
    with torch.no_grad():
        original.module[0].weight.add_(0.5)
    method.loss(BATCH)
    assert not torch.equal(method.tuned.module[0].weight, original.module[0].weight)


def test_then_it_is_distilled():
    method = make(FrozenTeacher(ModuleLearner(net(16, seed=9))), tune=0.2, temperature=3.0, alpha=0.6)
    method.fraction = 0.2
    with torch.no_grad():
        method.tuned.module[0].weight.add_(0.1)
    mine, theirs = answers(method.learner.module), answers(method.tuned.module)
    p, q, there = softmax(theirs / 3), softmax(mine / 3), LABEL.numpy() >= 0
    label = -np.log(softmax(mine)[there, LABEL.numpy()[there]]).mean()
    expected = 0.6 * 9 * (p * np.log(p / q)).sum(-1).mean() + 0.4 * label
    terms = method.loss(BATCH)
    assert terms.total().item() == pytest.approx(expected, rel=1e-5)
    terms.backward()
    assert all(p.grad is None for p in method.tuned.parameters())


def test_a_teacher_that_cannot_be_trained_is_refused():
    with pytest.raises(TeacherError, match="cannot be trained further"):
        make(RandomTeacher(3))


@pytest.mark.parametrize(
    "options", [{"information": -1.0}, {"tune": 0.0}, {"memory": 1.0}, {"temperature": 0.0}, {"alpha": 1.5}]
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="must be"):
        Config(**options)


def test_the_teacher_is_tuned_at_a_rate_of_its_own():
    method = make(FrozenTeacher(ModuleLearner(net(16, seed=9))), tune_lr=0.003)
    groups = method.groups()
    assert (groups["student"].lr, groups["teacher"].lr) == (None, 0.003)
    assert {*groups["teacher"].parameters()} == {*method.tuned.parameters()}
    assert {*groups["student"].parameters()} == {*method.learner.parameters()}
