"""Learning from a teacher's features on a view of its own, against NumPy; and where such a teacher comes from."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import didact
from conftest import net, planted
from didact.errors import ConfigError, DataError, TeacherError
from didact.learners import ModuleLearner
from didact.methods.distillation.privileged_information import Config, PrivilegedInformation
from didact.sources import load
from didact.teachers import FrozenTeacher, RandomTeacher
from didact.types import IGNORE
from transcribed import same_loss


def seen_better(size=90):
    """Points in noise, and without any in the view."""
    examples = planted(size)
    generator = torch.Generator().manual_seed(4)
    noisy = examples.tensors["x"] + 2 * torch.randn(size, 4, generator=generator)
    return examples.with_tensors(**{"x": noisy, "privileged.x": examples.tensors["x"]})


def half():
    examples = seen_better(12)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def hidden(module, x):
    with torch.no_grad():
        return module[:3](x).double().numpy()


@pytest.mark.parametrize("width", [8, 16])
def test_the_loss_weighs_features_of_the_view_and_labels(width):
    batch, student, teacher = half(), net(), net(width, seed=3)
    sees = FrozenTeacher(ModuleLearner(teacher), view="privileged")
    method = PrivilegedInformation(Config(alpha=0.7), ModuleLearner(student), sees, batch, seed=1)
    mine, theirs = hidden(student, batch["x"]), hidden(teacher, batch["privileged.x"])
    if width == 16:
        weights = {name: p.detach().double().numpy() for name, p in method.projector.named_parameters()}
        mine = mine @ weights["weight"].T + weights["bias"]
    else:
        assert not list(method.projector.parameters()), "features of one shape are compared as they are"
    lengths = [np.maximum(np.linalg.norm(rows, axis=1), 1e-8) for rows in (mine, theirs)]
    cosine = (mine * theirs).sum(1) / lengths[0] / lengths[1]
    there = batch["label"].numpy() != IGNORE
    with torch.no_grad():
        logits = student(batch["x"]).double().numpy()[there]
    label = np.log(np.exp(logits).sum(1)) - logits[np.arange(there.sum()), batch["label"].numpy()[there]]
    expected = 0.7 * (1 - cosine).mean() + 0.3 * label.mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("width", [8, 16])
def test_the_loss_and_its_gradient_are_those_of_the_authors(width):
    """`fast_train_student.py`: one minus the mean cosine of the normalised features, weighed by ALPHA."""
    batch, student, teacher = half(), net(), net(width, seed=3)
    sees = FrozenTeacher(ModuleLearner(teacher), view="privileged")
    method = PrivilegedInformation(Config(alpha=0.7), ModuleLearner(student), sees, batch, seed=1)
    mine, theirs = method.projector(student[:3](batch["x"])), teacher[:3](batch["privileged.x"]).detach()
    cosine = (F.normalize(mine, dim=1) * F.normalize(theirs, dim=1)).sum(1)
    task = F.cross_entropy(student(batch["x"]), batch["label"], ignore_index=IGNORE)
    parameters = [*student.parameters(), *method.projector.parameters()]
    same_loss(method.loss(batch).total(), (1 - 0.7) * task + 0.7 * (1 - cosine).mean(), parameters)


def test_a_teacher_is_trained_on_the_view_that_the_student_does_not_see():
    result = didact.run(
        method="privileged_information",
        data=seen_better(300),
        student="mlp:8",
        teacher="view:privileged:mlp:8",
        teacher_epochs=30,
        steps=5,
        progress=False,
    )
    plain = didact.run(
        method="distill",
        data=seen_better(300),
        student="mlp:8",
        teacher="mlp:8",
        teacher_epochs=30,
        steps=5,
        progress=False,
    )
    assert result.teacher["accuracy"] > plain.teacher["accuracy"] + 0.1
    assert result.teacher_cost.labels == plain.teacher_cost.labels > 0


def test_views_come_from_a_file_of_arrays(tmp_path):
    examples = seen_better(30)
    arrays = {"x": "x", "privileged.x": "privileged.x", "label": "label"}
    np.savez(tmp_path / "seen.npz", **{name: examples.tensors[key].numpy() for name, key in arrays.items()})
    found = load(tmp_path / "seen.npz")
    torch.testing.assert_close(found.tensors["privileged.x"], examples.tensors["privileged.x"])
    np.savez(tmp_path / "short.npz", **{"x": np.zeros((3, 2)), "label": [0, 1, 0], "depth.x": np.zeros((2, 2))})
    with pytest.raises(DataError, match=r"short.npz: depth.x.*\[2, 2\]"):
        load(tmp_path / "short.npz")


@pytest.mark.parametrize(
    ("teacher", "error", "words"),
    [
        ("view:depth:mlp:8", TeacherError, r"no view 'depth'.*Known: privileged"),
        ("view:privileged", ConfigError, "such as view:privileged:mlp"),
        ("view:privileged:random", ConfigError, "such as view:privileged:mlp"),
    ],
)
def test_a_view_that_is_not_there_is_refused(teacher, error, words):
    with pytest.raises(error, match=words):
        didact.run(method="privileged_information", data=seen_better(), student="mlp:8", teacher=teacher, steps=1)


def test_a_teacher_without_features_is_refused():
    with pytest.raises(TeacherError, match=r"requested from .*, which has none"):
        PrivilegedInformation(Config(), ModuleLearner(net()), RandomTeacher(3), half())


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match=r"alpha is .*must be"):
        Config(alpha=1.2)
