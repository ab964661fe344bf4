"""BD-KD's loss against a transcription of it, and where its gradients go."""

import numpy as np
import pytest
import torch

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.bd_kd import BDKD, Config
from didact.types import IGNORE


def softmax(logits, temperature=1.0):
    exponentials = np.exp(logits / temperature)
    return exponentials / exponentials.sum(-1, keepdims=True)


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def kl(p, q):
    return (p * np.log(p / q)).sum(-1)


def half():
    examples = planted(12)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def made(**options):
    student, teacher = net(), net(16, seed=5)
    return BDKD(Config(**options), ModuleLearner(student), lambda _spec: ModuleLearner(teacher)), student, teacher


def test_the_loss_is_that_of_both():
    method, student, teacher = made(emphasis=0.8, weight=2.0, teacher_weight=0.5, temperature=3.0)
    batch = half()
    with torch.no_grad():
        mine, theirs = student(batch["x"]).double().numpy(), teacher(batch["x"]).double().numpy()
    q, p = softmax(mine, 3.0), softmax(theirs, 3.0)
    share = np.where(entropy(q) < entropy(p), 0.8, 0.2)
    assert 0 < (share == 0.8).sum() < 12, "the example must show both cases"
    there = batch["label"].numpy() != IGNORE
    labels = batch["label"].numpy()[there]
    expected = sum(-np.log(softmax(z)[there, labels]).mean() for z in (mine, theirs))
    expected += 2.0 * 9.0 * (share * kl(p, q) + (1 - share) * kl(q, p)).mean() + 0.5 * 9.0 * kl(q, p).mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("term", "learns"), [("balanced", "learner"), ("peer_student", "peer")])
def test_who_learns_from_what_the_other_says(term, learns):
    method, _, _ = made()
    method.loss(half())[term].sum.backward()
    for name in ("learner", "peer"):
        gradients = [p.grad for p in getattr(method, name).parameters()]
        assert all((g is not None) == (name == learns) for g in gradients)


def test_the_teacher_is_made_from_its_spec():
    asked = []
    BDKD(Config(peer="mlp:64"), ModuleLearner(net()), lambda spec: asked.append(spec) or ModuleLearner(net(seed=1)))
    assert asked == ["mlp:64"]


@pytest.mark.parametrize(
    "options", [{"emphasis": 1.1}, {"weight": -1.0}, {"teacher_weight": -1.0}, {"temperature": 0.0}]
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*must be"):
        Config(**options)
