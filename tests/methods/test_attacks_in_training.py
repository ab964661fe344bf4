"""Methods that train on perturbed inputs or hidden numbers, against their terms written out."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from didact import worlds
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.perturbed import stop_spectrum
from didact.materials.examples import attacked
from didact.methods.noisy_labels import latent_adversarial, mutual_adversarial, spectral_stop
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


def test_a_held_spectrum_has_the_gradient_of_finite_differences():
    """The split of networks/ResNet_New2.py in CoderHHX/PADDLES, whose held part is a constant, by NumPy."""
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    start = [np.fft.fftn(one) for one in x.double().numpy()]

    def of_one(i, moved, amplitude, phase):
        now = np.fft.fftn(moved)
        size = np.abs(start[i] if amplitude else now)
        angle = np.angle(start[i] if phase else now)
        return (np.fft.ifftn(size * np.exp(1j * angle)).real * weight[i].double().numpy()).sum()

    for amplitude, phase in ((True, False), (False, True), (True, True), (False, False)):
        held = x.clone().requires_grad_()
        found = stop_spectrum(held, amplitude=amplitude, phase=phase)
        torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-5)
        if amplitude and phase:
            assert not found.requires_grad
            continue
        (slope,) = torch.autograd.grad((found * weight).sum(), held)
        for i, place in itertools.product(range(2), np.ndindex(3, 4)):
            ends = []
            for step in (1e-6, -1e-6):
                moved = x[i].double().numpy().copy()
                moved[place] += step
                ends.append(of_one(i, moved, amplitude, phase))
            assert slope[i][place].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-3)


@pytest.mark.parametrize(("fraction", "learns"), [(0.05, (True, True)), (0.12, (True, True)), (0.17, (False, True))])
def test_layers_before_the_stop_learn_as_long_as_it_is_open(fraction, learns):
    torch.manual_seed(0)
    net = ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES)))
    for layer in ("hidden", "2"):
        method = spectral_stop.SpectralStop(spectral_stop.Config(layer=layer), net)
        method.fraction = fraction
        slopes = torch.autograd.grad(
            method.loss(BATCH).total(), [net.module[1].weight, net.module[3].weight], allow_unused=True
        )
        assert tuple(slope is not None and bool(slope.any()) for slope in slopes) == learns
        plain = nn.functional.cross_entropy(net(BATCH).logits, LABELS)
        assert method.loss(BATCH).total().item() == pytest.approx(plain.item(), rel=1e-5)


def test_labels_that_are_predicted_are_learned_last():
    net = linear(3)
    method = spectral_stop.SpectralStop(spectral_stop.Config(), net)
    method.fraction = 0.2
    said = log_softmax(logits_of(net, X.double().flatten(1).numpy()))
    agree = said.argmax(1) == LABELS.numpy()
    assert 0 < agree.sum() < 8
    expected = -said[np.arange(8), LABELS.numpy()][agree].mean()
    assert method.loss(BATCH).total().item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match=r"amplitude_stop is 0\.3, phase_stop is 0\.15 .* in that order"):
        spectral_stop.Config(amplitude_stop=0.3)
    with pytest.raises(ConfigError, match="layer is 'hiden', which the student does not have"):
        spectral_stop.SpectralStop(spectral_stop.Config(layer="hiden"), net)


@pytest.mark.parametrize("toward", ["likeliest", "class", "none"])
def test_latent_adversarial_training_is_written_out(toward):
    """Terms of utils.py and lat_helpers.py in aengusl/latent-adversarial-training; the head is linear in its input."""
    torch.manual_seed(0)
    net = ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, CLASSES)))
    config = latent_adversarial.Config(toward=toward, bad_class=1, radius=0.5, attack_steps=3, avoid=0.7, clean=2.0)
    method = latent_adversarial.LatentAdversarial(config, net, BATCH)
    weight, bias = (one.detach().double().numpy() for one in net.head.parameters())
    hidden = net(BATCH).hidden.detach().double().numpy()
    expected, label = {"label": [], "avoid": [], "clean": []}, LABELS.numpy()
    for i in range(8):
        clean = log_softmax((weight @ hidden[i] + bias)[None])[0]
        wrong = int(np.argmax(np.where(np.arange(CLASSES) == label[i], -np.inf, clean)))
        bad = {"likeliest": wrong, "class": 1, "none": None}[toward]
        change = np.zeros(5)
        attacked = not (toward == "class" and label[i] == 1)
        for _ in range(3 * attacked):
            probs = np.exp(log_softmax((weight @ (hidden[i] + change) + bias)[None])[0])
            error = probs - np.eye(CLASSES)[label[i]] if bad is None else np.eye(CLASSES)[bad] - probs
            slope = weight.T @ error
            change = change + 2.5 * 0.5 / 3 * slope / np.linalg.norm(slope)
            change = change * min(1.0, 0.5 / np.linalg.norm(change))
        moved = log_softmax((weight @ (hidden[i] + change) + bias)[None])[0]
        expected["label"].append(-moved[label[i]])
        expected["clean"].append(-clean[label[i]])
        if bad is not None and attacked:
            expected["avoid"].append(-np.log(1 - np.exp(moved[bad])))
    terms = method.loss(BATCH)
    total = np.mean(expected["label"]) + 2 * np.mean(expected["clean"])
    total += 0.7 * np.mean(expected["avoid"]) if toward != "none" else 0.0
    assert terms.total().item() == pytest.approx(total, rel=1e-4)
    assert {name: float(count) for name, count in method.counts(BATCH).items()} == {
        name: float(term.count) for name, term in terms.items()
    }
    with pytest.raises(ConfigError, match="bad_class is 3, but there are 3 classes"):
        latent_adversarial.LatentAdversarial(latent_adversarial.Config(bad_class=3), net, BATCH)
