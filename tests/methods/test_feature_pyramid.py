"""Feature pyramid matching: its loss on normal images alone, what it delivers, and teachers of other classes."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import didact
from didact import worlds
from didact.errors import CheckpointError, ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.losses.features.pyramid import anomaly_map
from didact.methods.distillation.feature_pyramid import Config, FeaturePyramid
from didact.parts import saved
from didact.parts.models import build
from didact.teachers import FrozenTeacher, RandomTeacher
from didact.types import Batch
from transcribed import same_loss

TARGET = "target:digit:cnn:4,8"


@pytest.fixture(scope="module")
def examples():
    return worlds.load("digits:defects").select(torch.arange(300))


def made(examples, config=Config(), own="cnn:4,8", other="cnn:4,8"):  # noqa: B008
    student, teacher = build(own, examples, seed=1), build(other, examples, seed=2)
    return FeaturePyramid(config, student, FrozenTeacher(teacher), examples.batch(slice(0, 8)))


def directions(maps):
    return maps / np.maximum(np.linalg.norm(maps, axis=1, keepdims=True), 1e-12)


def shown(learner, batch, tap):
    with torch.no_grad():
        return directions(learner(batch).features[tap].double().numpy())


def test_by_default_the_pyramid_has_every_resolution_once(examples):
    assert made(examples, own="cnn:4,8,8", other="cnn:4,8,8").pairs == [
        ("1.norm", "1.norm"),
        ("2.norm", "2.norm"),
        ("3", "3"),
    ]


def test_the_loss_is_that_of_normal_images_alone(examples):
    method, batch = made(examples), examples.batch(slice(20, 60))
    normal = batch["label"].numpy() == 0
    assert 0 < normal.sum() < 40
    expected = 0.0
    for own, tap in method.pairs:
        mine, theirs = shown(method.learner, batch, own), shown(method.teacher.learner, batch, tap)
        expected += (0.5 * ((mine - theirs) ** 2).sum(1)).mean((1, 2))[normal].mean()
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(expected, rel=1e-4)
    assert float(terms["match"].count) == float(method.counts(batch)["match"]) == normal.sum()


def test_the_loss_and_its_gradient_are_half_of_the_authors(examples):
    method, batch = made(examples), examples.batch(slice(20, 60))
    normal = Batch({"x": batch["x"][batch["label"] == 0]})
    with torch.no_grad():
        theirs = method.teacher.learner(normal).features
    mine, expected = method.learner(normal).features, torch.zeros(())
    for own, tap in method.pairs:
        apart = F.normalize(theirs[tap], dim=1) - F.normalize(mine[own], dim=1)
        expected = expected + (apart**2).sum(1).mean()
    same_loss(method.loss(batch).total(), expected / 2, method.learner.parameters())


def test_batch_norms_see_normal_images_alone(examples):
    batch = examples.batch(slice(20, 60))
    layers = [nn.BatchNorm2d(1, momentum=1.0), nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2)]
    student, teacher = ModuleLearner(nn.Sequential(*layers)), FrozenTeacher(build("cnn:4", examples))
    method = FeaturePyramid(Config(taps=("0=0",)), student, teacher, batch)
    method.loss(batch)
    normal = batch["x"][batch["label"] == 0]
    rows = torch.arange(40) % len(normal)
    torch.testing.assert_close(layers[0].running_mean, normal[rows].mean((0, 2, 3)))


def test_what_is_delivered_shows_the_map_that_the_loss_is_made_of(examples):
    method, batch = made(examples, Config(alarm=2.0)), examples.batch(slice(0, 40))
    method.loss(batch)
    method.after_step()
    output = method.delivered.eval()(batch)
    maps = output.features["anomaly_map"]
    stages = []
    for own, tap in method.pairs:
        mine, theirs = shown(method.learner, batch, own), shown(method.teacher.learner, batch, tap)
        stages.append(torch.tensor(0.5 * ((mine - theirs) ** 2).sum(1)))
    torch.testing.assert_close(maps.detach(), anomaly_map(stages, (8, 8)).float(), rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(output.logits, method.alarm(maps))


def test_the_teacher_stays_as_it_is(examples):
    method = made(examples)
    method.delivered.train()
    assert not method.teacher.learner.training
    assert method.learner.training
    assert not any("teacher" in name for name in method.state_dict())


def test_another_teacher_goes_through_projectors(examples):
    method = made(examples, own="cnn:4,8", other="cnn:6,8")
    assert [type(one).__name__ for one in method.projectors] == ["Conv2d", "Identity", "Identity"]


@pytest.mark.slow
def test_a_run_finds_pixels_with_a_teacher_of_another_task(examples, tmp_path):
    result = didact.run(
        method="feature_pyramid",
        data=worlds.load("digits:defects"),
        student="cnn:8,16",
        teacher="target:digit:cnn:8,16",
        teacher_epochs=1,
        steps=150,
        directory=tmp_path / "run",
        progress=False,
    )
    assert result.metrics["pixel_auroc"] > 0.65
    assert result.metrics["auroc"] > 0.65
    assert result.teacher["accuracy"] > 0.85, "on the digits, which are its own target"
    assert "teacher_agreement" not in result.teacher
    assert result.learner(didact.Batch({"x": torch.rand(3, 1, 8, 8)})).features["anomaly_map"].shape == (3, 1, 8, 8)
    with pytest.raises(CheckpointError, match="module of your own"):
        saved.load(tmp_path / "run")


def test_a_net_from_elsewhere_may_have_other_classes(examples):
    torch.manual_seed(0)
    elsewhere = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 1000))
    given = {"data": examples, "teacher": elsewhere, "student": "cnn:4", "taps": ("1.norm=0",), "steps": 2}
    result = didact.run(method="feature_pyramid", progress=False, **given)
    assert result.teacher == {}
    assert "pixel_auroc" in result.metrics
    given.pop("taps")
    with pytest.raises(TeacherError, match="1000 numbers"):
        didact.run(method="distill", progress=False, **given)


@pytest.mark.parametrize(
    ("teacher", "error", "words"),
    [
        ("target:style:cnn:4,8", TeacherError, r"tell 'style'.*no such tensor"),
        ("target:digit", ConfigError, "such as target:style:cnn:16,32"),
        ("random", TeacherError, "needs a net"),
    ],
)
def test_teachers_that_cannot_be_are_refused(examples, teacher, error, words):
    with pytest.raises(error, match=words):
        didact.run(method="feature_pyramid", data=examples, student="cnn:4,8", teacher=teacher, steps=1)


def test_other_methods_refuse_a_teacher_of_another_task(examples):
    with pytest.raises(TeacherError, match=r"predicts digit, but the method 'distill'.*such as cnn:4,8"):
        didact.run(method="distill", data=examples, student="cnn:4,8", teacher=TARGET, steps=1)


def test_nonsense_is_refused(examples):
    with pytest.raises(ConfigError, match=r"alarm is .*must be"):
        Config(alarm=-1.0)
    with pytest.raises(ConfigError, match=r"normal is 2.*below 2"):
        made(examples, Config(normal=2))
    with pytest.raises(ConfigError, match="no maps of one resolution"):
        made(examples, own="mlp:8")
    with pytest.raises(TeacherError, match="needs a net"):
        FeaturePyramid(Config(), build("cnn:4,8", examples), RandomTeacher(2), examples.batch(slice(0, 8)))
