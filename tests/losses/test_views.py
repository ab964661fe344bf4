"""Contrastive losses of two views, against the authors' code as it is written, and by what must hold of gradients."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses.pairs.views import debiased_nt_xent, decoupled_nt_xent, nt_xent
from transcribed import same_loss


def unit(seed, size=6, width=4):
    x = np.random.default_rng(seed).normal(size=(size, width))
    return x / np.sqrt((x**2).sum(1, keepdims=True))


def anchors(first, second):
    """Each anchor with its positive and its negatives."""
    views = np.concatenate([first, second])
    size = len(first)
    for i, anchor in enumerate(views):
        others = [views[j] for j in range(2 * size) if j % size != i % size]
        yield anchor, views[(i + size) % (2 * size)], others


def slow(kind, first, second, temperature, *, prior=0.0, sigma=None):
    """The mean over anchors, by the papers' formulas."""
    size, losses = len(first), []
    cosines = np.exp((first * second).sum(1) / sigma) if sigma else np.ones(size)
    weights = 2 - cosines / cosines.mean()
    for i, (anchor, positive, others) in enumerate(anchors(first, second)):
        up = math.exp(anchor @ positive / temperature)
        down = [math.exp(anchor @ other / temperature) for other in others]
        if kind == "nt_xent":
            losses.append(-math.log(up / (up + sum(down))))
        elif kind == "decoupled":
            losses.append(-weights[i % size] * anchor @ positive / temperature + math.log(sum(down)))
        else:
            estimate = max((np.mean(down) - prior * up) / (1 - prior), math.exp(-1 / temperature))
            losses.append(-math.log(up / (up + len(down) * estimate)))
    return np.mean(losses)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_they_match_the_authors_code(temperature):
    """Sums over anchors, as raminnakhli/Decoupled-Contrastive-Learning and chingyaoc/DCL take them."""
    first, second = unit(0), unit(1)
    given = torch.tensor(3 * first), torch.tensor(0.5 * second)  # the length of an embedding does not matter
    for kind, term, options in [
        ("nt_xent", nt_xent(*given, temperature=temperature), {}),
        ("decoupled", decoupled_nt_xent(*given, temperature=temperature), {}),
        ("decoupled", decoupled_nt_xent(*given, temperature=temperature, sigma=0.5), {"sigma": 0.5}),
        ("debiased", debiased_nt_xent(*given, temperature=temperature, prior=0.3), {"prior": 0.3}),
        ("debiased", debiased_nt_xent(*given, temperature=temperature, prior=0.05), {"prior": 0.05}),
    ]:
        assert term.mean().item() == pytest.approx(slow(kind, first, second, temperature, **options), rel=1e-4)
        assert term.count == 6
        assert term.rows.sum().item() == pytest.approx(term.sum.item(), rel=1e-6)


def written_out(kind, first, second, temperature):
    """Half of what google-research/simclr and raminnakhli/Decoupled-Contrastive-Learning sum, and all of chingyaoc/DCL.

    The weights of the decoupled loss are the paper's: that code leaves out the factor `size`.
    """
    size, total = len(first), 0.0
    for one, other in ((first, second), (second, first)):
        within, across = (one @ x.T / temperature for x in (one, other))
        own = torch.eye(size, dtype=torch.bool)
        if kind == "nt_xent":
            scores = torch.cat([across, within - 1e9 * own], 1)
            total = total + F.cross_entropy(scores, torch.arange(size))
            continue
        positive = across.diagonal()
        negatives = torch.cat([within, across], 1).masked_fill(own.repeat(1, 2), -torch.inf)
        if kind == "decoupled":
            weight = 2 - size * ((one * other).sum(1) / 0.5).softmax(0)
            total = total + (negatives.logsumexp(1) - weight * positive).mean()
            continue
        count, up = 2 * size - 2, positive.exp()
        estimate = ((negatives.exp().sum(1) - 0.1 * count * up) / 0.9).clamp(min=count * math.exp(-1 / temperature))
        total = total - (up / (up + estimate)).log().mean()
    return total / 2


@pytest.mark.parametrize("kind", ["nt_xent", "decoupled", "debiased"])
@pytest.mark.parametrize("temperature", [0.2, 0.5])
def test_their_gradients_match_the_authors_code(kind, temperature):
    given = [torch.tensor(3 * unit(seed)).float().requires_grad_() for seed in (0, 1)]
    options = {"nt_xent": {}, "decoupled": {"sigma": 0.5}, "debiased": {"prior": 0.1}}[kind]
    loss = {"nt_xent": nt_xent, "decoupled": decoupled_nt_xent, "debiased": debiased_nt_xent}[kind]
    expected = written_out(kind, *(F.normalize(one, dim=1) for one in given), temperature)
    same_loss(loss(*given, temperature=temperature, **options).mean(), expected, given)


def gradients(loss, first, second):
    """With respect to the embeddings of both views."""
    given = [torch.tensor(one, requires_grad=True) for one in (first, second)]
    loss(*given).sum.backward()
    return torch.cat([one.grad for one in given])


@pytest.mark.parametrize("size", [2, 8, 300])
def test_the_coupling_is_the_share_of_the_negatives(size):
    """Where all anchors are alike, the gradient of NT-Xent is the decoupled one times 1 - p+ (its section 3.1).

    With many negatives, which is the control, the two are the same.
    """
    first = np.eye(size)
    up = math.exp(1 / 0.5)
    factor = 1 - up / (up + 2 * size - 2)
    coupled = gradients(lambda *x: nt_xent(*x, temperature=0.5), first, first)
    decoupled = gradients(lambda *x: decoupled_nt_xent(*x, temperature=0.5), first, first)
    assert decoupled.abs().max() > 1e-3
    torch.testing.assert_close(coupled, factor * decoupled, rtol=1e-4, atol=1e-7)
    assert (factor > 0.98) == (size == 300)


def test_without_a_prior_nothing_is_corrected():
    first, second = unit(3), unit(4)
    plain = gradients(lambda *x: nt_xent(*x, temperature=0.5), first, second)
    debiased = gradients(lambda *x: debiased_nt_xent(*x, temperature=0.5, prior=0.0), first, second)
    torch.testing.assert_close(plain, debiased, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [nt_xent, decoupled_nt_xent, debiased_nt_xent])
def test_nothing_overflows_at_low_temperatures(loss):
    given = [torch.tensor(unit(seed), dtype=torch.float32, requires_grad=True) for seed in (5, 6)]
    term = loss(*given, temperature=0.02)
    term.sum.backward()
    assert term.sum.isfinite()
    assert all(one.grad.isfinite().all() for one in given)


@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        (nt_xent, {"temperature": 0.0}, "temperature is 0.0"),
        (decoupled_nt_xent, {"sigma": -1.0}, "sigma is -1.0"),
        (debiased_nt_xent, {"prior": 1.0}, "prior is 1.0"),
    ],
)
def test_what_they_refuse(loss, options, said):
    with pytest.raises(ConfigError, match=said):
        loss(torch.ones(2, 3), torch.ones(2, 3), **options)
    with pytest.raises(ConfigError, match=r"The views are \[2, 3\] and \[3, 3\]"):
        loss(torch.ones(2, 3), torch.ones(3, 3))


def test_the_estimate_is_that_of_other_classes_alone():
    """Debiasing, on average over many batches, gives the sum over negatives of other classes (its lemma 1).

    The embeddings of a class are alike, so that a negative of the anchor's class looks like its positive.
    """
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(5, 8, generator=generator), dim=1)
    size, temperature = 1500, 0.5
    label = torch.randint(5, (size,), generator=generator)
    x = centres[label].double()
    plain = nt_xent(x, x, temperature=temperature).mean().item()
    debiased = debiased_nt_xent(x, x, temperature=temperature, prior=0.2).mean().item()
    scores = (x @ x.T / temperature).exp()
    others = (scores * (label[:, None] != label)).sum(1) / (label[:, None] != label).sum(1) * (2 * size - 2)
    up = scores.diagonal()
    oracle = -(up / (up + others)).log().mean().item()
    assert debiased == pytest.approx(oracle, abs=0.02)
    assert plain > oracle + 0.2
