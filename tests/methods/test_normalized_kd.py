"""NKD and USKD as methods: their losses and gradients from the paper's formulas, and what they refuse."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation import normalized_kd, uskd
from didact.teachers import FrozenTeacher
from didact.types import IGNORE, Batch, Logits


def half(size=8):
    examples = planted(size)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def softmax(rows):
    return np.exp(rows - rows.max(-1, keepdims=True)) / np.exp(rows - rows.max(-1, keepdims=True)).sum(
        -1, keepdims=True
    )


def numbers(module, x):
    with torch.no_grad():
        return module(x).double().numpy()


def nkd(mine, theirs, label, gamma, temperature):
    """The paper's formula for one example, with its cross-entropy of the other classes; and the teacher's entropy."""
    target = int(theirs.argmax()) if label == IGNORE else label
    others = [c for c in range(len(mine)) if c != target]
    s, t = softmax(mine[None])[0], softmax(theirs[None])[0]
    n_s, n_t = (softmax(row[None, others] / temperature)[0] for row in (mine, theirs))
    scale = gamma * temperature**2
    return -t[target] * np.log(s[target]) - scale * (n_t * np.log(n_s)).sum(), -scale * (n_t * np.log(n_t)).sum()


def test_nkd_is_the_papers_formula_less_the_teachers_entropy():
    student, teacher, batch = net(), net(16, seed=9), half()
    config = normalized_kd.Config(gamma=0.7, temperature=2.0)
    method = normalized_kd.NormalizedKD(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)))
    mine, theirs, label = numbers(student, batch["x"]), numbers(teacher, batch["x"]), batch["label"].numpy()
    parts = [nkd(s, t, y, 0.7, 2.0) for s, t, y in zip(mine, theirs, label, strict=True)]
    there = label != IGNORE
    expected = np.mean([loss - entropy for loss, entropy in parts])
    expected -= np.log(softmax(mine)[there, label[there]]).mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-5)
    assert {k: float(v) for k, v in method.counts(batch).items()} == {"target": 8.0, "others": 8.0, "label": 4.0}


def test_nkd_has_the_gradient_of_the_papers_formula():
    student, teacher, batch = net(), net(16, seed=9), half()
    method = normalized_kd.NormalizedKD(
        normalized_kd.Config(), ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher))
    )
    method.loss(batch).backward()
    theirs, label = numbers(teacher, batch["x"]), batch["label"].numpy()
    there = label != IGNORE

    def at(bias):
        mine = numbers(student, batch["x"]) + bias
        formula = np.mean([nkd(s, t, y, 3.5, 3.0)[0] for s, t, y in zip(mine, theirs, label, strict=True)])
        return formula - np.log(softmax(mine)[there, label[there]]).mean()

    for c in range(3):
        step = 1e-5 * np.eye(3)[c]
        assert student[-1].bias.grad[c].item() == pytest.approx((at(step) - at(-step)) / 2e-5, abs=1e-4)


def test_nkd_softens_the_logits_of_a_sure_teacher_and_not_its_clamped_probabilities():
    logits = torch.tensor([[400.0, 30.0, 0.0, -90.0]])
    mine = torch.tensor([[0.3, -0.2, 0.1, 0.0]], requires_grad=True)
    method = normalized_kd.NormalizedKD(
        normalized_kd.Config(gamma=1.0, temperature=40.0),
        ModuleLearner(nn.Sequential(nn.Identity())),
        SimpleNamespace(signal=lambda _batch: Logits(logits=logits)),
    )
    batch = Batch({"x": mine, "label": torch.tensor([0]), "id": torch.tensor([0])})
    method.loss(batch)["others"].mean().backward()
    q, p = (softmax(rows.detach().double().numpy()[:, 1:] / 40.0) for rows in (mine, logits))
    assert mine.grad[0, 1:].numpy() == pytest.approx(40.0 * (q - p)[0], rel=1e-4)


def test_uskd_softens_its_own_labels():
    student, batch = net(), half(10)
    config = uskd.Config(alpha=0.8, beta=0.3, weak_weight=0.2, weak_smoothing=0.1)
    method = uskd.USKD(config, ModuleLearner(student), batch, seed=4)
    mine = numbers(student, batch["x"])
    weak = numbers(nn.Sequential(*student[:3], method.weak_head), batch["x"])
    label = batch["label"].numpy()
    there = label != IGNORE
    s, w, y = softmax(mine[there]), softmax(weak[there]), label[there]
    of_target = s[range(len(y)), y]
    soft = of_target**2 + 1 - (of_target**2).mean()
    expected = -np.log(of_target).mean() - 0.8 * (soft * np.log(of_target)).mean()
    for row, weak_row, target in zip(s, w, y, strict=True):
        others = [c for c in range(3) if c != target]
        order = weak_row / (1 - weak_row[target]) + row / (1 - row[target])
        others.sort(key=lambda c, order=order: -order[c])
        zipf = np.array([1.0, 0.5]) / 1.5
        among = row[others] / row[others].sum()
        expected += 0.3 * (zipf * np.log(zipf / among)).sum() / len(y)
    smooth = 0.9 * np.eye(3)[y] + 0.1 / 3
    expected -= 0.2 * (smooth * np.log(w)).sum(-1).mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-5)


def test_uskd_trains_its_weak_head_and_delivers_the_student_without_it():
    method = uskd.USKD(uskd.Config(), ModuleLearner(net()), half())
    method.loss(half()).backward()
    assert bool(method.weak_head.weight.grad.any())
    assert set(method.modules()) == {"learner", "weak_head"}
    assert method.delivered is method.learner


def test_uskd_pools_maps_and_tokens():
    method = uskd.USKD(uskd.Config(), ModuleLearner(net()), half())
    maps = torch.randn(2, 5, 3, 4)
    assert method.pool_features(maps)[1, 2].item() == pytest.approx(maps[1, 2].numpy().mean(), rel=1e-4, abs=1e-6)
    assert method.pool_features(maps[:, :, 0])[1, 2].item() == pytest.approx(maps[1, :, 0, 2].numpy().mean(), abs=1e-6)


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match=r"2 classes.*needs 3"):
        uskd.USKD(uskd.Config(), ModuleLearner(net(classes=2)), half())
    with pytest.raises(ConfigError, match=r"tap is 'layer9'.*hidden"):
        uskd.USKD(uskd.Config(tap="layer9"), ModuleLearner(net()), half())


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (normalized_kd.Config, {"gamma": -1.0}),
        (normalized_kd.Config, {"temperature": 0.0}),
        (uskd.Config, {"alpha": -0.1}),
        (uskd.Config, {"beta": -0.1}),
        (uskd.Config, {"weak_weight": 0.0}),
        (uskd.Config, {"weak_smoothing": 1.0}),
    ],
)
def test_nonsense_is_refused(config, options):
    (field,) = options
    with pytest.raises(ConfigError, match=f"{field} is .*must be"):
        config(**options)
