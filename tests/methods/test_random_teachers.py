"""The imitation of a random teacher and the probe, against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.random_teachers import Config, RandomTeachers
from didact.types import IGNORE
from transcribed import same_loss


def half():
    examples = planted(12)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def made(batch, **options):
    config = Config(outputs=9, width=6, bottleneck=3, **options)
    return RandomTeachers(config, ModuleLearner(net()), lambda _spec: ModuleLearner(net(seed=7)), batch, seed=3)


def softmax(rows):
    exponentials = np.exp(rows - rows.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_it_imitates_without_labels():
    batch = half()
    method = made(batch, distance=0.5, probe_share=0.4)
    method.fraction = 0.59
    with torch.no_grad():
        own = method.projection(method.learner(batch).hidden).double().numpy()
        theirs = method.teacher.signal(batch).logits.double().numpy()
    p, q = softmax(theirs), softmax(own)
    terms = method.loss(batch)
    assert set(terms) == {"teacher"}
    assert terms.total().item() == pytest.approx((p * np.log(p / q)).sum(-1).mean(), rel=1e-3)
    terms.backward()
    assert method.learner.head.weight.grad is None and method.probe.weight.grad is None
    assert method.learner.module[0].weight.grad is not None


def test_the_gradient_is_that_of_the_cross_entropy_of_the_authors():
    """Their code minimises the cross-entropy with the frozen teacher, which exceeds the divergence by a constant."""
    batch = half()
    method = made(batch, distance=0.5)

    def scores(net, head):
        hidden = F.gelu(net[:3](batch["x"]) @ head.body[0].weight.T + head.body[0].bias)
        bottleneck = hidden @ head.body[2].weight.T + head.body[2].bias
        return bottleneck / bottleneck.norm(dim=1, keepdim=True) @ head.scores.weight.T

    teacher = method.teacher.learner
    target = scores(teacher.learner.module, teacher.projection).softmax(1).detach()
    log_probs = scores(method.learner.module, method.projection).log_softmax(1)
    cross_entropy, entropy = -(target * log_probs).sum(1).mean(), -(target * target.log()).sum(1).mean()
    parameters = [*method.learner.parameters(), *method.projection.parameters()]
    same_loss(method.loss(batch).total(), cross_entropy - entropy, parameters, rtol=1e-3)


def test_at_no_distance_there_is_nothing_to_imitate():
    batch = half()
    assert made(batch, distance=0.0).loss(batch).total().item() == pytest.approx(0.0, abs=1e-6)


def test_then_the_head_alone_learns_from_the_labels():
    batch = half()
    method = made(batch, probe_share=0.4)
    method.fraction = 0.6
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(np.log(3), rel=1e-5), "a probe of zeros finds all classes alike"
    terms.backward()
    assert all(p.grad is None for p in method.learner.parameters())
    with torch.no_grad():
        method.probe.weight -= 0.02 * method.probe.weight.grad
        method.probe.bias -= 0.02 * method.probe.bias.grad
    method.after_step()
    there = batch["label"].numpy() != IGNORE
    delivered = method.delivered(batch).logits.detach().double().numpy()[there]
    expected = -np.log(softmax(delivered))[np.arange(there.sum()), batch["label"].numpy()[there]].mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-4)


def test_the_teacher_is_frozen_and_not_saved():
    method = made(half())
    assert set(method.state_dict()) == {"learner", "projection", "probe"}
    assert not any(p.requires_grad for p in method.teacher.learner.parameters())


def test_a_student_without_a_linear_head_is_refused():
    batch = planted(8).batch()
    with pytest.raises(ConfigError, match="no linear head"):
        RandomTeachers(Config(), ModuleLearner(nn.Identity()), lambda _spec: ModuleLearner(nn.Identity()), batch)


@pytest.mark.parametrize(
    "options", [{"distance": -0.1}, {"outputs": 1}, {"width": 0}, {"bottleneck": 1}, {"probe_share": 2}]
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*must be"):
        Config(**options)
