"""The imitation of several teachers and the probe, against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import net, planted
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.methods.distillation.theia import Config, Theia
from didact.teachers import Committee, FrozenTeacher, RandomTeacher
from didact.types import IGNORE
from transcribed import same_loss


def half():
    examples = planted(12)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def made(batch, *widths, **options):
    teachers = [FrozenTeacher(ModuleLearner(net(width, seed=3 + k))) for k, width in enumerate(widths)]
    teacher = Committee(teachers) if len(teachers) > 1 else teachers[0]
    return Theia(Config(**options), ModuleLearner(net()), teacher, batch, seed=2), teachers


def hidden(module, x):
    with torch.no_grad():
        return module[:3](x).double().numpy()


def smooth(apart):
    return np.where(np.abs(apart) < 1, apart**2 / 2, np.abs(apart) - 0.5)


@pytest.mark.parametrize("widths", [(16,), (16, 5)])
def test_it_shows_what_every_teacher_shows(widths):
    batch = half()
    method, teachers = made(batch, *widths, cosine=0.8)
    expected = 0.0
    own = hidden(method.learner.module, batch["x"])
    for translator, teacher in zip(method.translators, teachers, strict=True):
        theirs = hidden(teacher.learner.module, batch["x"])
        floor = 0.01 * theirs.var(0).mean()
        target = (theirs - theirs.mean(0)) / np.sqrt(np.maximum(theirs.var(0), floor))
        weights = {name: p.detach().double().numpy() for name, p in translator.named_parameters()}
        mine = own @ weights["weight"].T + weights["bias"]
        cosine = (mine * target).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(target, axis=1)
        expected += (0.8 * (1 - cosine).mean() + 0.2 * smooth(mine - target).mean()) / len(widths)
    terms = method.loss(batch)
    assert len(terms) == 2 * len(widths)
    assert terms.total().item() == pytest.approx(expected, rel=1e-3)
    terms.backward()
    assert method.learner.head.weight.grad is None and method.probe.weight.grad is None


@pytest.mark.parametrize("widths", [(16,), (16, 5)])
def test_the_loss_and_its_gradient_are_those_of_the_authors(widths):
    """`get_loss` and 0.9 and 0.1 of `train_rvfm.py`, on features that are standardised here beforehand."""
    batch = half()
    method, teachers = made(batch, *widths)
    method.loss(batch)
    own, cosines, distances = method.learner.module[:3](batch["x"]), [], []
    for translator, teacher in zip(method.translators, teachers, strict=True):
        theirs = teacher.learner.module[:3](batch["x"]).detach()
        spread = theirs.var(0, correction=0).clamp(min=0.01 * theirs.var(0, correction=0).mean()).sqrt()
        mine, target = translator(own), (theirs - theirs.mean(0)) / spread
        directions = F.normalize(mine, dim=1), F.normalize(target, dim=1)
        cosines.append(nn.CosineEmbeddingLoss()(*directions, torch.ones(12)) / len(widths))
        distances.append(nn.SmoothL1Loss()(mine, target) / len(widths))
    parameters = [*method.learner.parameters(), *method.translators.parameters()]
    same_loss(method.loss(batch).total(), 0.9 * sum(cosines) + 0.1 * sum(distances), parameters)


def test_then_the_head_alone_learns_from_the_labels():
    batch = half()
    method, _ = made(batch, 16, probe_share=0.5)
    method.fraction = 0.5
    terms = method.loss(batch)
    assert set(terms) == {"label"}
    terms.backward()
    assert all(p.grad is None for p in (*method.learner.parameters(), *method.translators.parameters()))
    with torch.no_grad():
        method.probe.weight.sub_(0.02 * method.probe.weight.grad)
    method.after_step()
    torch.testing.assert_close(method.delivered(batch).logits, method.probe(method.learner(batch).hidden))


def test_the_teachers_cost_is_counted_once():
    batch = half()
    method, teachers = made(batch, 16, 5)
    before = sum(t.cost.teacher_calls for t in teachers)
    method.loss(batch)
    assert len(method.teachers()) == 1
    assert method.teachers()[0].cost.teacher_calls == before + 24


def test_each_teacher_can_have_a_tap_of_its_own():
    method, _ = made(half(), 16, 5, teacher_tap="0 + hidden")
    assert method.taps == ["0", "hidden"]
    with pytest.raises(ConfigError, match=r"names 3 layers for 2 teachers"):
        made(half(), 16, 5, teacher_tap="0+1+2")
    with pytest.raises(ConfigError, match=r"tap is 'layer9'.*hidden"):
        made(half(), 16, 5, teacher_tap="layer9")


def test_what_has_no_features_is_refused():
    batch = half()
    both = Committee([FrozenTeacher(ModuleLearner(net())), RandomTeacher(3)])
    with pytest.raises(TeacherError, match=r"requested from .*, which has none"):
        Theia(Config(), ModuleLearner(net()), both, batch)
    with pytest.raises(ConfigError, match="no linear head"):
        Theia(Config(student_tap="0"), ModuleLearner(nn.Sequential(nn.Identity())), both, batch)


@pytest.mark.parametrize("options", [{"cosine": 1.1}, {"probe_share": -0.1}])
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*must be"):
        Config(**options)
