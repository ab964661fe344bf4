"""Methods that train on perturbed inputs or hidden numbers, against their terms written out."""

import numpy as np
import pytest
import torch
from torch import nn

from didact import worlds
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.materials.examples import attacked
from didact.methods.noisy_labels import mutual_adversarial
from didact.types import Batch

CLASSES = 3
X = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
BATCH = Batch({"x": X, "label": LABELS, "id": torch.arange(8)})


def linear(seed):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(4, CLASSES)))


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def logits_of(learner, x):
    weight, bias = (one.detach().double().numpy() for one in learner.parameters())
    return x @ weight.T + bias


def pgd(learner, x, start, radius, steps):
    """PGD of torchattacks for a linear net, from a given start."""
    weight = next(iter(learner.parameters())).detach().double().numpy()
    moved = np.clip(start, 0, 1)
    for _ in range(steps):
        error = np.exp(log_softmax(logits_of(learner, moved))) - np.eye(CLASSES)[LABELS.numpy()]
        moved = moved + 2.5 * radius / steps * np.sign(error @ weight)
        moved = np.clip(x + np.clip(moved - x, -radius, radius), 0, 1)
    return moved


def test_mutual_adversarial_training_is_written_out():
    learner, peer = linear(1), linear(2)
    config = mutual_adversarial.Config(radius=0.1, attack_steps=3, weight=0.6)
    method = mutual_adversarial.MutualAdversarial(config, learner, lambda _spec: peer, BATCH)
    torch.manual_seed(5)
    terms = method.loss(BATCH)
    torch.manual_seed(5)
    x = X.double().flatten(1).numpy()
    starts = [x + (2 * torch.rand_like(X).double().flatten(1).numpy() - 1) * 0.1 for _ in range(2)]
    nets = (learner, peer)
    moved = [pgd(net, x, start, 0.1, 3) for net, start in zip(nets, starts, strict=True)]
    said = [[log_softmax(logits_of(net, one)) for one in moved] for net in nets]
    expected = 0.0
    for i in range(2):
        expected += -said[i][i][np.arange(8), LABELS.numpy()].mean()
        for k in range(2):
            peers = np.exp(said[1 - i][k])
            expected += 0.6 / 2 * (peers * (said[1 - i][k] - said[i][k])).sum(1).mean()
    assert terms.total().item() == pytest.approx(expected, rel=1e-4)
    # A peer's predictions are constants: the gradient of each term is that of its own student.
    (found,) = torch.autograd.grad(terms["peer_0_1_1"].mean(), [learner.get_parameter("module.1.bias")])
    closed = (np.exp(said[0][1]) - np.exp(said[1][1])).mean(0)
    np.testing.assert_allclose(found.numpy(), closed, atol=1e-6)
    assert set(method.counts(BATCH)) == set(terms)


def test_peers_may_attack_in_another_norm():
    config = mutual_adversarial.Config(radius=0.1, peer_norm="l2", peer_radius=0.3)
    method = mutual_adversarial.MutualAdversarial(config, linear(1), lambda _spec: linear(2), BATCH)
    mine, theirs = (
        method.attacked(net, BATCH, peer=peer)["x"] - X for net, peer in ((linear(1), False), (linear(2), True))
    )
    assert mine.abs().max() <= 0.1 + 1e-6 < theirs.abs().max()
    assert theirs.flatten(1).norm(dim=1).max() <= 0.3 + 1e-6
    text = Batch({"input_ids": LABELS[:, None], "label": LABELS, "id": torch.arange(8)})
    with pytest.raises(ConfigError, match="The inputs are text, which mutual_adversarial cannot move"):
        mutual_adversarial.MutualAdversarial(config, linear(1), lambda _spec: linear(2), text)


def test_the_accuracy_under_attack_of_a_linear_net_has_a_closed_form():
    """A linear net of two classes is wrong where the margin is below the radius times the weights' sizes."""
    examples = worlds.load("digits:attacked")
    x = examples.tensors["x"].double().flatten(1).numpy()
    two = np.isin(examples.tensors["label"].numpy(), [0, 1])
    some = examples.select(torch.from_numpy(two))
    torch.manual_seed(0)
    net = ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    with torch.no_grad():
        means = [torch.from_numpy(x[examples.tensors["label"].numpy() == c].mean(0)).float() for c in (0, 1)]
        net.module[1].weight.copy_(torch.stack(means))
        net.module[1].bias.copy_(torch.stack([-one.square().sum() / 2 for one in means]))
    weight, bias = (one.detach().double().numpy() for one in net.parameters())
    side = 2.0 * some.tensors["label"].numpy() - 1
    along = np.sign(weight[1] - weight[0])
    worst = np.clip(x[two] - 0.15 * side[:, None] * along, 0, 1)
    right = ((worst @ (weight[1] - weight[0]) + bias[1] - bias[0]) * side > 0).mean()
    assert attacked.metrics(net, some) == {"robust_accuracy": pytest.approx(right)}
    assert 0.1 < right < 0.999
    assert attacked.metrics(lambda batch: batch, some) == {}
