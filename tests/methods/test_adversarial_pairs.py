"""Contrast with perturbed hidden numbers, against the authors' terms written out."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.losses.pairs.hard_pairs import hard_pair_contrast, pair_contrast
from didact.methods.noisy_labels.adversarial_pairs import AdversarialPairs, Config
from didact.types import Batch

CLASSES, WIDTH = 3, 8
LABELS = torch.tensor([0, 2, 1, 0])
X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
VIEW = X + 0.3 * torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
BATCH = Batch({"x": X, "label": LABELS, "id": torch.arange(4), "source.x": VIEW})


def method(**options):
    torch.manual_seed(2)
    learner = ModuleLearner(nn.Sequential(nn.Linear(6, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES)))
    return AdversarialPairs(Config(near=0.7, far=1.5, temperature=0.2, **options), learner)


def weights_of(module):
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def cosines(one, other):
    return (one / np.linalg.norm(one, axis=1, keepdims=True)) @ (other / np.linalg.norm(other, axis=1, keepdims=True)).T


def unit(slope):
    return slope / (np.linalg.norm(slope, axis=1, keepdims=True) + 1e-12)


def differences(loss, x, width=1e-6):
    """The gradient by central differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = width
        found[place] = (loss(x + step) - loss(x - step)) / (2 * width)
    return found


def test_pairs_are_made_and_contrasted_as_in_the_authors_code():
    """`forward`, `generate_adv` and `generate_cont_adv` of nmt/models.py in seanie12/CLAPS, for one token each."""
    one = method(weight=0.6)
    net, projection = weights_of(one.learner.module), weights_of(one.projection)
    x, view = (np.tanh(rows.double().numpy() @ net["0.weight"].T + net["0.bias"]) for rows in (X, VIEW))
    own = np.arange(4)

    def project(rows):
        return np.maximum(rows @ projection["0.weight"].T + projection["0.bias"], 0.0)

    def said(rows):
        return log_softmax(rows @ net["2.weight"].T + net["2.bias"])

    def wrong(rows):
        return -said(rows)[own, LABELS.numpy()].mean()

    def contrast(rows):
        return -log_softmax(cosines(project(view), project(rows)) / 0.2)[own, own].mean()

    def changed(rows):
        return (np.exp(said(x)) * (said(x) - said(rows))).sum(1).mean()

    near = x + 0.7 * unit(differences(wrong, x))
    away = x + 1.5 * unit(differences(contrast, x))
    far = away - 1.5 * unit(differences(changed, away))
    similar = cosines(project(view), project(x))
    hard = np.diag(cosines(project(view), project(near)))[:, None]
    first = np.concatenate([similar, hard], 1) / 0.2
    second = similar.copy()
    second[own, own] = np.diag(cosines(project(view), project(far)))
    second = np.concatenate([second, hard], 1)
    expected = -0.5 * (log_softmax(first)[own, own].mean() + log_softmax(second)[own, own].mean())
    terms = one.loss(BATCH)
    assert terms["contrast"].mean().item() == pytest.approx(expected, rel=1e-3)
    assert terms.total().item() == pytest.approx(wrong(x) + 0.6 * expected, rel=1e-3)
    plain = method(pairs="batch").loss(BATCH)
    assert plain["contrast"].mean().item() == pytest.approx(contrast(x), rel=1e-4)


def test_what_is_moved_carries_no_gradient_into_the_net_and_its_length_is_known():
    one = method()
    output, source = one.learner(BATCH), one.learner(BATCH.view("source"))
    hidden = output.features["hidden"].detach()
    near, far = one.perturbed(source.features["hidden"].detach(), hidden, output.logits.detach(), LABELS)
    assert not near.requires_grad and not far.requires_grad
    assert (near - hidden).norm(dim=1).tolist() == pytest.approx([0.7] * 4, rel=1e-4)
    assert float((far - hidden).norm(dim=1).max()) <= 3.0 + 1e-4
    harder, before = (nn.functional.cross_entropy(rows, LABELS) for rows in (one.learner.head(near), output.logits))
    assert harder.item() > before.item()


def test_rows_of_the_contrast_are_those_of_a_loop():
    rows = [torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    source, target, negative, positive = (one.numpy() for one in rows)
    found = hard_pair_contrast(*rows, temperature=0.5)
    total = 0.0
    for i in range(3):
        near = [cosines(source[i : i + 1], target[j : j + 1])[0, 0] for j in range(3)]
        wrong = cosines(source[i : i + 1], negative[i : i + 1])[0, 0]
        right = cosines(source[i : i + 1], positive[i : i + 1])[0, 0]
        first = np.array([*near, wrong]) / 0.5
        second = np.array([right if j == i else near[j] for j in range(3)] + [wrong])
        total -= (np.log(np.exp(first[i]) / np.exp(first).sum()) + np.log(np.exp(second[i]) / np.exp(second).sum())) / 2
    assert found.sum.item() == pytest.approx(total, rel=1e-5) and found.count == 3
    with pytest.raises(ConfigError, match="temperature"):
        pair_contrast(rows[0], rows[1], temperature=0.0)


def test_a_student_without_a_linear_head_is_refused():
    with pytest.raises(ConfigError, match="no linear head, before which it is perturbed"):
        AdversarialPairs(Config(), ModuleLearner(nn.Conv1d(6, 3, 1)))
