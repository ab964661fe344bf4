"""Domain-adversarial training against the public PyTorch version's step, written out."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import didact
from didact import worlds
from didact.errors import ConfigError
from didact.learners import ModuleLearner, reversal_schedule, reverse_gradient
from didact.methods.adaptation.domain_adversarial import Config, DomainAdversarial
from didact.methods.supervised.supervised import Config as Plain
from didact.methods.supervised.supervised import Supervised
from didact.types import IGNORE, Batch, is_labelled

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 2, 1, 1, IGNORE, IGNORE, IGNORE, IGNORE])
BATCH = Batch({"x": X, "label": LABEL, "domain": (LABEL < 0).long(), "id": torch.arange(8)})


def make(batch=BATCH, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    return DomainAdversarial(Config(**options), ModuleLearner(net), batch)


def test_the_gradient_is_negated_and_scaled():
    x = X.clone().requires_grad_()
    found = reverse_gradient(x, 0.7)
    assert torch.equal(found, x)
    (slope,) = torch.autograd.grad((found * X).sum(), [x])
    torch.testing.assert_close(slope, -0.7 * X)


def test_the_reversal_rises_as_in_the_paper():
    assert reversal_schedule(0.0) == 0.0
    assert [reversal_schedule(p) for p in (0.25, 1.0)] == pytest.approx([math.tanh(1.25), math.tanh(5.0)])
    assert reversal_schedule(0.5, steepness=2.0) == pytest.approx(math.tanh(0.5))


def test_its_gradients_are_those_of_two_objectives():
    """The net descends on labels and ascends on domains; the classifier of domains descends on its own loss.

    As in its train/main.py, the labels are those of the source half, and the loss of the domains is that of both.
    """
    method = make(reversal=2.0)
    method.fraction = 0.25
    method.loss(BATCH).total().backward()
    net, told = method.learner.module, method.classifier.layers
    features = net[:2](X)
    label = F.cross_entropy(net(X[:4]), LABEL[:4])
    domain = (
        F.cross_entropy(told(features[:4]), torch.zeros(4).long())
        + F.cross_entropy(told(features[4:]), torch.ones(4).long())
    ) / 2
    scale = 2.0 * math.tanh(1.25)
    wanted = torch.autograd.grad(label - scale * domain, list(net.parameters()), retain_graph=True)
    for weight, slope in zip(net.parameters(), wanted, strict=True):
        torch.testing.assert_close(weight.grad, slope)
    for weight, slope in zip(told.parameters(), torch.autograd.grad(domain, list(told.parameters())), strict=True):
        torch.testing.assert_close(weight.grad, slope)


def test_without_reversal_the_net_learns_what_a_supervised_one_does_to_the_bit():
    method = make(reversal=0.0)
    method.fraction = 0.5
    plain = Supervised(Plain(), make().learner)
    for one in (method, plain):
        one.loss(BATCH).total().backward()
    for own, other in zip(method.learner.parameters(), plain.learner.parameters(), strict=True):
        assert torch.equal(own.grad, other.grad)


def test_a_group_is_forgotten_modulo_the_outputs():
    group = torch.tensor([7, 8, 9, 10, 11, 12, 13, -1])
    batch = Batch({**BATCH, "group": group})
    method = make(batch, nuisance="group", outputs=4)
    method.fraction = 1.0
    with torch.no_grad():
        told = method.classifier.layers(method.learner.module[:2](X))
    wanted = F.cross_entropy(told, torch.tensor([3, 0, 1, 2, 3, 0, 1, 3]))
    assert method.loss(batch)["nuisance"].mean().item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("reversal", [2.0, 0.0])
def test_who_wrote_a_digit_is_forgotten_and_without_reversal_is_not(reversal):
    """Steps of the net against the classifier, which stays: its loss on the writers rises, and is as it was without."""
    seen = worlds.load("digits:marked").batch(slice(0, 64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    method = DomainAdversarial(Config(nuisance="writer", outputs=10, reversal=reversal), ModuleLearner(net), seen)
    method.fraction = 1.0
    told = torch.optim.SGD(method.classifier.parameters(), lr=1.0)
    for _ in range(20):
        told.zero_grad()
        method.loss(seen)["nuisance"].mean().backward()
        told.step()
    before = method.loss(seen)["nuisance"].mean().item()
    own = torch.optim.SGD(net.parameters(), lr=0.3)
    for _ in range(5):
        own.zero_grad()
        method.loss(seen)["nuisance"].mean().backward()
        own.step()
    after = method.loss(seen)["nuisance"].mean().item()
    assert after > before + 0.1 if reversal else after == before


@pytest.mark.parametrize("name", ["domain", "x"])
def test_what_is_no_nuisance_is_refused(name):
    batch = Batch({key: tensor for key, tensor in BATCH.items() if key != "domain"})
    with pytest.raises(ConfigError, match=rf"nuisance is '{name}', .*--unlabelled FILE.*--group-column NAME"):
        make(batch, nuisance=name)


def test_a_run_takes_both_domains():
    result = didact.run(
        "domain_adversarial", data="digits:blurred", student="mlp:8", steps=3, batch_size=32, progress=False
    )
    seen = worlds.load("digits:blurred").tensors
    assert result.cost.labels <= int((is_labelled(seen["label"]) & (seen["split"] == 0)).sum())
    assert result.history[-1]["loss/nuisance"] > 0
