"""Norm and direction: the terms from two nets' features, the means of the classes, and what is refused."""

import numpy as np
import pytest
import torch

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.norm_direction import Config, NormDirection
from didact.teachers import FrozenTeacher, RandomTeacher
from didact.types import IGNORE


def half(size=9):
    examples = planted(size)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def make(config=None, student=None, teacher=None):
    student, teacher = student or net(), teacher or net(16, seed=9)
    parts = ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher))
    return NormDirection(config or Config(), *parts, half(), seed=3)


def numbers(module, x):
    with torch.no_grad():
        return module(x).double().numpy()


def test_the_loss_is_distillation_with_norm_and_direction():
    student, teacher, batch = net(), net(16, seed=9), half()
    method = make(Config(weight=3.0, teacher_weight=0.5, temperature=2.0), student, teacher)
    method.loss(batch)
    method.after_step()
    mine, theirs = numbers(student, batch["x"]), numbers(teacher, batch["x"])
    features, vectors = numbers(student[:3], batch["x"]), numbers(teacher[:3], batch["x"])
    features = features @ method.projector.weight.detach().double().numpy().T
    features = features + method.projector.bias.detach().double().numpy()
    label = batch["label"].numpy()
    belongs = np.where(label == IGNORE, theirs.argmax(-1), label)
    direction = 0.0
    for s, t, c in zip(features, vectors, belongs, strict=True):
        mean = vectors[belongs == c].mean(0)
        direction += 1.0 - s @ mean / np.linalg.norm(mean) / max(np.linalg.norm(s), np.linalg.norm(t))
    q, p = (np.exp(rows / 2.0) / np.exp(rows / 2.0).sum(-1, keepdims=True) for rows in (mine, theirs))
    there = label != IGNORE
    probs = np.exp(mine) / np.exp(mine).sum(-1, keepdims=True)
    expected = 3.0 * direction / 9 + 0.5 * 4.0 * (p * np.log(p / q)).sum(-1).mean()
    expected += -np.log(probs[there, label[there]]).mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-5)
    assert {k: float(v) for k, v in method.counts(batch).items()} == {"direction": 9.0, "teacher": 9.0, "label": 5.0}


def test_the_means_are_those_of_the_steps_before_and_saved():
    method, batch = make(), half()
    assert method.loss(batch)["direction"].mean().item() == pytest.approx(1.0)
    method.after_step()
    whole, parts = method.loss(batch)["direction"], [method.loss(part)["direction"] for part in batch.split(4)]
    assert sum(part.sum.item() for part in parts) == pytest.approx(whole.sum.item(), rel=1e-5)
    other = make()
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.means.mean, method.means.mean)
    assert bool(method.means.mean.any())


def test_features_of_one_width_need_no_projector():
    method = make(teacher=net(8, seed=9))
    assert set(method.modules()) == {"learner", "projector", "means"}
    assert not list(method.projector.parameters())
    assert len(list(make().projector.parameters())) == 2


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="weight is -1"):
        Config(weight=-1.0)
    with pytest.raises(ConfigError, match="temperature is 0"):
        Config(temperature=0.0)
    with pytest.raises(ValueError, match=r"Features .* which has none"):
        NormDirection(Config(), ModuleLearner(net()), RandomTeacher(3), half())
    with pytest.raises(ConfigError, match=r"tap is 'layer9'.*hidden"):
        make(Config(teacher_tap="layer9"))
