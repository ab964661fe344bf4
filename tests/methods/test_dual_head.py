"""Dual-head distillation: which loss reaches which head, their values, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from conftest import net, planted
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.methods.distillation.dual_head import Config, DualHead
from didact.teachers import FrozenTeacher
from didact.types import IGNORE, Cost, Labels


def half():
    examples = planted(6)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def make(config, student=None, teacher=None):
    student, teacher = student or net(), teacher or net(16, seed=9)
    return DualHead(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)), half(), seed=3)


def log_cosh(values):
    return np.log(np.cosh(values))


def numbers(module, x):
    with torch.no_grad():
        return module(x).double().numpy()


@pytest.mark.parametrize("heads", [1, 2])
def test_the_losses_are_those_of_their_heads(heads):
    student, teacher, batch = net(), net(16, seed=9), half()
    config = Config(heads=heads, alpha=0.5, logit_temperature=3.0, teacher_weight=0.7, temperature=2.0)
    method = make(config, student, teacher)
    mine, theirs = numbers(student, batch["x"]), numbers(teacher, batch["x"])
    twin = mine if heads == 1 else numbers(nn.Sequential(*student[:3], method.auxiliary_head), batch["x"])
    label = batch["label"].numpy()
    there = label != IGNORE
    q = np.exp(mine) / np.exp(mine).sum(-1, keepdims=True)
    expected = -np.log(q[there, label[there]]).mean()
    expected += 0.5 * 9.0 * log_cosh((twin - theirs) / 6.0).sum(-1).mean()
    q, p = (np.exp(rows / 2.0) / np.exp(rows / 2.0).sum(-1, keepdims=True) for rows in (mine, theirs))
    expected += 0.7 * 4.0 * (p * np.log(p / q)).sum(-1).mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-5)
    assert {k: float(v) for k, v in method.counts(batch).items()} == {"label": 3.0, "logits": 6.0, "teacher": 6.0}


def test_each_head_learns_from_its_own_loss_and_the_body_from_both():
    method, batch = make(Config()), half()
    assert set(method.loss(batch)) == {"label", "logits"}
    method.loss(batch)["logits"].sum.backward()
    assert method.learner.head.weight.grad is None
    body = method.learner.module[0].weight
    assert bool(method.auxiliary_head.weight.grad.any()) and bool(body.grad.any())
    method.auxiliary_head.zero_grad()
    body.grad = None
    method.loss(batch)["label"].sum.backward()
    assert method.auxiliary_head.weight.grad is None
    assert bool(method.learner.head.weight.grad.any()) and bool(body.grad.any())


def test_the_auxiliary_head_is_trained_saved_and_dropped():
    method = make(Config())
    assert set(method.modules()) == {"learner", "auxiliary_head"}
    assert method.delivered is method.learner
    assert not any("auxiliary" in name for name, _ in method.delivered.named_parameters())


def test_a_student_without_a_head_is_refused():
    headless = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 4), nn.Flatten())
    with pytest.raises(ConfigError, match="tap is 'hidden', which the model does not have"):
        make(Config(), headless)


def test_a_teacher_without_logits_is_refused():
    class Says:
        cost = Cost()

        def signal(self, batch):
            return Labels(labels=torch.zeros(batch.size, dtype=torch.int64))

    with pytest.raises(TeacherError, match="Labels, which has no logits"):
        DualHead(Config(), ModuleLearner(net()), Says(), half())


@pytest.mark.parametrize(
    "options",
    [{"heads": 3}, {"heads": 0}, {"alpha": -1.0}, {"logit_temperature": 0.0}, {"teacher_weight": -0.1},
     {"temperature": 0.0}],
)  # fmt: skip
def test_nonsense_is_refused(options):
    (field,) = options
    with pytest.raises(ConfigError, match=f"{field} is .*must be"):
        Config(**options)
