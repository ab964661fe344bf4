"""The terms and their gradients against transcriptions, and that no real image reaches the student."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.retain_while_acquiring import Config, RetainWhileAcquiring
from didact.parts.models import build
from didact.teachers import FrozenTeacher
from didact.types import Batch, Examples

BATCH = Batch({"x": torch.rand(6, 1, 4, 4), "label": torch.arange(6) % 3, "id": torch.arange(6)})


def flat(width, seed):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Tanh(), nn.Linear(width, 3)))


def make(**options):
    config = Config(noise=4, width=4, memory=8, **options)
    return RetainWhileAcquiring(config, flat(5, 0), FrozenTeacher(flat(7, 1)), BATCH, seed=2)


def drawn(method, seed):
    """The images that a step with this seed will make, and those that it will remember."""
    torch.manual_seed(seed)
    images = method.generator(6)
    memory = copy.deepcopy(method.memory)
    if method.step % method.config.remember_every == 0:
        memory.put(x=images.detach())
    return images, memory.draw(6)["x"]


def gradient(scalar, module):
    return torch.cat([g.flatten() for g in torch.autograd.grad(scalar, list(module.parameters()))])


def grads(module):
    return torch.cat([p.grad.flatten() for p in module.parameters()])


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_student_learns_from_new_images_and_from_old_ones_after_a_step(rate):
    method = make(retain=0.7, rate=rate, generator_every=2)
    method.loss(BATCH)
    method.step = 5
    images, old = drawn(method, 11)
    student, teacher = method.learner.module, method.teacher.learner.module
    acquire = F.l1_loss(student(images.detach()), teacher(images.detach()))
    weights = dict(student.named_parameters())
    slopes = torch.autograd.grad(acquire, list(weights.values()), create_graph=True)
    ahead = {name: w - rate * s for (name, w), s in zip(weights.items(), slopes, strict=True)}
    retain = F.l1_loss(torch.func.functional_call(student, ahead, (old,)), teacher(old))
    wanted = gradient(acquire + 0.7 * retain, student)
    torch.manual_seed(11)
    terms = method.loss(BATCH)
    terms.backward()
    assert set(terms) == {"acquire", "retain"}
    assert terms["acquire"].mean().item() == pytest.approx(acquire.item(), rel=1e-5)
    assert terms["retain"].mean().item() == pytest.approx(retain.item(), rel=1e-5)
    torch.testing.assert_close(grads(student), wanted)
    assert all(p.grad is None for p in method.generator.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_the_generator_seeks_disagreement_and_sure_balanced_answers():
    method = make(retain=0.0, disagreement=2.0, sureness=0.5, balance=3.0)
    images, _ = drawn(method, 7)
    said, mine = method.teacher.learner.module(images), method.learner.module(images)
    p, q = said.softmax(-1), mine.softmax(-1)
    middle = (p + q) / 2
    apart = ((p * (p / middle).log()).sum(-1) / 2 + (q * (q / middle).log()).sum(-1) / 2).mean()
    sure = F.cross_entropy(said, said.argmax(-1))
    mean = p.mean(0)
    aim = -2.0 * apart + 0.5 * sure + 3.0 * (mean * (3 * mean).log()).sum()
    wanted = gradient(aim, method.generator)
    acquire = F.l1_loss(method.learner.module(images.detach()), said.detach())
    own = gradient(acquire, method.learner.module)
    torch.manual_seed(7)
    terms = method.loss(BATCH)
    terms.backward()
    assert set(terms) == {"generator", "acquire"}
    assert terms["generator"].mean().item() == pytest.approx(aim.item(), rel=1e-4)
    torch.testing.assert_close(grads(method.generator), wanted, rtol=1e-3, atol=1e-6)
    # The generator's aim leaves the student alone.
    torch.testing.assert_close(grads(method.learner.module), own)


def test_real_images_and_labels_do_not_matter():
    found = []
    for batch in (BATCH, Batch({"x": torch.full((6, 1, 4, 4), torch.nan), "id": torch.arange(6)})):
        method = make()
        torch.manual_seed(3)
        terms = method.loss(batch)
        terms.backward()
        found.append((terms.total().item(), grads(method.learner.module)))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_a_transformer_can_look_ahead():
    tensors = {"x": torch.rand(8, 1, 8, 8), "label": torch.arange(8) % 3, "id": torch.arange(8)}
    images = Examples(tensors=tensors, task="classification", modality="image", classes=("a", "b", "c"))
    learner, teacher = build("transformer:1x8", images), FrozenTeacher(build("cnn:4", images, seed=1))
    method = RetainWhileAcquiring(Config(noise=4, width=4), learner, teacher, images.batch())
    terms = method.loss(images.batch())
    terms.backward()
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters() if p.grad is not None)


def test_what_is_no_image_is_refused():
    batch = planted(6).batch()
    with pytest.raises(ConfigError, match="makes images"):
        RetainWhileAcquiring(
            Config(), ModuleLearner(nn.Linear(4, 3)), FrozenTeacher(ModuleLearner(nn.Linear(4, 3))), batch
        )


@pytest.mark.parametrize("options", [{"retain": -1.0}, {"rate": -0.1}, {"memory": 0}, {"generator_every": 0}])
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="must be"):
        Config(**options)
