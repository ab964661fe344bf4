"""Sinkhorn distillation as a method: its terms from the logits of two nets, and what it refuses."""

import numpy as np
import pytest
import torch

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.sinkhorn import Config, SinkhornDistillation
from didact.teachers import FrozenTeacher
from didact.types import IGNORE


def softmax(rows):
    return np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)


def test_the_loss_has_three_parts():
    examples = planted(6)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    batch = examples.with_tensors(label=label).batch()
    student, teacher = net(), net(16, seed=9)
    config = Config(temperature=3.0, alpha=0.6, beta=0.5, regularisation=0.2, iterations=3)
    method = SinkhornDistillation(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)))
    with torch.no_grad():
        mine, theirs = student(batch["x"]).double().numpy(), teacher(batch["x"]).double().numpy()
    q, p = softmax(mine / 3.0), softmax(theirs / 3.0)
    cost = np.abs(q[:, None] - p[None]).sum(-1)
    plan = np.exp(-cost / 0.2)
    for _ in range(3):
        plan = plan / plan.sum(1, keepdims=True)
        plan = plan / plan.sum(0, keepdims=True)
    there = label.numpy() != IGNORE
    expected = 0.5 * (plan * cost).sum() / 6
    expected += 0.6 * 9.0 * (p * np.log(p / q)).sum(-1).mean()
    expected += 0.4 * -np.log(softmax(mine)[there, label.numpy()[there]]).mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-4)
    counts = method.counts(batch)
    assert {name: float(term.count) for name, term in method.loss(batch).items()} == {
        name: float(count) for name, count in counts.items()
    }


def test_the_whole_batch_takes_part():
    assert SinkhornDistillation.feed.coupled


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"alpha": 1.5}, {"beta": -1.0}, {"regularisation": 0.0}, {"iterations": 0}]
)
def test_nonsense_is_refused(options):
    (field,) = options
    with pytest.raises(ConfigError, match=f"{field} is .*must be"):
        Config(**options)
