"""PLD as a method: its loss from the logits of two nets, and what it refuses."""

import math

import numpy as np
import pytest
import torch

from conftest import net, planted
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.methods.distillation.pld import PLD, Config
from didact.teachers import FrozenTeacher
from didact.types import IGNORE, Cost, Features, Labels


class Says:
    """A teacher with one answer."""

    def __init__(self, signal):
        self.answer, self.cost = signal, Cost()

    def signal(self, batch):
        return self.answer


def test_the_loss_is_the_weighted_ranking():
    examples = planted(8)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    batch = examples.with_tensors(label=label).batch()
    student, teacher = net(), net(16, seed=9)
    method = PLD(Config(temperature=2.0), ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)))
    with torch.no_grad():
        mine, theirs = student(batch["x"]).double().numpy(), teacher(batch["x"]).double().numpy()
    total = 0.0
    for s, t, y in zip(mine, theirs, label.tolist(), strict=True):
        weights = np.exp(t / 2) / np.exp(t / 2).sum()
        first = int(t.argmax()) if y == IGNORE else y
        second, third = sorted({0, 1, 2} - {first}, key=lambda c: -t[c])
        total += weights[first] * (math.log(np.exp(s).sum()) - s[first])
        total += weights[second] * (math.log(math.exp(s[second]) + math.exp(s[third])) - s[second])
    assert method.loss(batch).total().item() == pytest.approx(total / 8, rel=1e-5)
    assert method.counts(batch) == {"ranking": 8}


def test_where_a_teacher_of_hard_labels_abstains_there_is_no_loss():
    batch = planted(3).batch()
    said = torch.tensor([1, IGNORE, 2])
    term = PLD(Config(), ModuleLearner(net()), Says(Labels(labels=said))).loss(batch)["ranking"]
    assert float(term.count) == 2


def test_a_teacher_that_says_nothing_about_classes_is_refused():
    with pytest.raises(TeacherError, match="Features, which holds no probabilities of classes"):
        PLD(Config(), ModuleLearner(net()), Says(Features(features={"a": torch.zeros(4, 1)}))).loss(planted(4).batch())


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ConfigError, match="temperature is 0"):
        Config(temperature=0.0)
