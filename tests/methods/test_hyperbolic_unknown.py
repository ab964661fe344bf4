"""Distances in the Poincaré ball and unknown objects, against the authors' functions, written out."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact import worlds
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.losses.features.hyperbolic import ball_distances, midpoint, midpoint_parts, to_ball
from didact.methods.adaptation.hyperbolic_unknown import Config, HyperbolicUnknown
from didact.types import IGNORE, Batch
from transcribed import same_loss

N = 14
X = torch.randn(N, 6, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.5, 3.0, N)[:, None]
LABEL = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, *[IGNORE] * 6])
FAMILY = torch.where(LABEL == 2, 1, 0)
BATCH = Batch({"x": X, "label": LABEL, "family": FAMILY, "id": torch.arange(N)})


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 5))
    return HyperbolicUnknown(Config(**options), ModuleLearner(net), BATCH)


def expmap0(u, c):
    """Theirs, after the clipping of `ToPoincare` and before `project`."""
    norm = u.norm(dim=-1, keepdim=True).clamp_min(1e-5)
    found = torch.tanh(c**0.5 * norm) * u / (c**0.5 * norm)
    size, most = found.norm(dim=-1, keepdim=True), (1 - 1e-3) / c**0.5
    return torch.where(size > most, found / size * most, found)


def mobius_add(x, y, c):
    x2, y2, xy = (x * x).sum(), (y * y).sum(), (x * y).sum()
    return ((1 + 2 * c * xy + c * y2) * x + (1 - c * x2) * y) / (1 + 2 * c * xy + c**2 * x2 * y2)


def dist_matrix(xs, ys, c):
    def dist(x, y):
        return 2 / c**0.5 * torch.atanh(c**0.5 * mobius_add(-x, y, c).norm())

    return torch.stack([torch.stack([dist(x, y) for y in ys]) for x in xs])


def poincare_mean(x, c):
    k = 2 * x / (1 + c * (x * x).sum(-1, keepdim=True))
    lamb = 1 / torch.sqrt(1 - c * (k * k).sum(-1, keepdim=True))
    mean = (lamb * k).sum(0) / lamb.sum(0)
    return mean / (1 + torch.sqrt(1 - c * (mean * mean).sum()))


def clipped(x, longest):
    return x * torch.clamp(longest / x.norm(dim=-1, keepdim=True), max=1.0)


@pytest.mark.parametrize("c", [0.1, 1.0])
def test_maps_distances_and_midpoints_are_those_of_the_authors(c):
    x, y = 2 * X[:5, :4].double(), X[5:8, :4].double()
    ball, other = (expmap0(clipped(one, 1.5), c) for one in (x, y))
    torch.testing.assert_close(to_ball(x, curvature=c, longest=1.5).double(), ball, rtol=1e-4, atol=1e-6)
    found = ball_distances(ball, other, curvature=c)
    torch.testing.assert_close(found, dist_matrix(ball, other, c), rtol=1e-6, atol=1e-8)
    middle = midpoint(midpoint_parts(ball, curvature=c).mean(0), curvature=c)
    torch.testing.assert_close(middle, poincare_mean(ball, c))
    # Of two points, the midpoint is as far from either, and half as far as they are from each other.
    pair = midpoint(midpoint_parts(ball[:2], curvature=c).sum(0), curvature=c)
    halves = ball_distances(ball[:2], pair[None], curvature=c)[:, 0]
    assert halves.tolist() == pytest.approx([float(ball_distances(ball[:1], ball[1:2], curvature=c)) / 2] * 2)
    same = ball_distances(ball, ball, curvature=c).requires_grad_(False).diagonal()
    assert float(same.max()) < 1e-4
    far = torch.full((1, 4), 1e6)
    assert float(to_ball(far, curvature=c, longest=1e6).norm()) == pytest.approx(0.999 / math.sqrt(c), rel=1e-4)


def test_without_curvature_distances_are_cosines():
    assert torch.equal(to_ball(X, curvature=0.0, longest=0.1), X)
    found = ball_distances(X[:2], X[2:5], curvature=0.0)
    cosines = (X[:2] @ X[2:5].T) / X[:2].norm(dim=1)[:, None] / X[2:5].norm(dim=1)
    torch.testing.assert_close(found, 2 - 2 * cosines)
    torch.testing.assert_close(midpoint(midpoint_parts(X, curvature=0.0).mean(0), curvature=0.0), X.mean(0))


def test_the_loss_and_its_gradient_are_those_of_the_authors():
    method = make(families=2, contrast=0.7, family=0.4, pseudo=0.3, longest=2.0)
    net, c = method.learner.module, 0.1
    ball = expmap0(clipped(net[0](X), 2.0), c)
    stored = ball.detach()
    means = torch.stack([poincare_mean(stored[k == LABEL], c) for k in range(3)])
    kin = torch.stack([poincare_mean(stored[(k == FAMILY) & (LABEL != IGNORE)], c) for k in range(2)])
    own = F.cross_entropy(-dist_matrix(ball[:8], means, c) / 0.2, LABEL[:8])
    family = F.cross_entropy(-dist_matrix(ball[:8], kin, c) / 0.4, FAMILY[:8])
    nearest = dist_matrix(stored, means, c).min(1).values
    unknown = nearest[8:] <= nearest[:8].max()
    assert 0 < unknown.sum() < 6
    pseudo = F.cross_entropy(net(X)[8:], torch.where(unknown, 3, 4))
    wanted = F.cross_entropy(net(X)[:8], LABEL[:8]) + 0.7 * own + 0.4 * family + 0.3 * pseudo
    same_loss(method.loss(BATCH).total(), wanted, net.parameters())


def test_without_families_and_with_labels_of_the_background():
    method = make(families=0)
    label = torch.where(torch.arange(N) > 10, 4, LABEL)
    terms = method.loss(Batch({"x": X, "label": label, "id": torch.arange(N)}))
    assert float(terms["family"].mean().detach()) == 0.0 and terms.total().isfinite()
    assert float(terms["label"].count) == 11 and float(terms["contrast"].count) == 8


def test_what_has_no_families_is_refused():
    with pytest.raises(ConfigError, match="families is 2, but the data have no tensor 'family'"):
        HyperbolicUnknown(Config(families=2), make().learner, Batch({"x": X, "id": torch.arange(N)}))
    with pytest.raises(ConfigError, match="a linear head, of three classes or more"):
        HyperbolicUnknown(Config(), ModuleLearner(nn.Linear(6, 2)), BATCH)


def test_unknown_classes_are_nearer_to_known_ones_than_the_background():
    t = worlds.load("planted:hierarchy").tensors
    x, label, family = (t[name].numpy() for name in ("x", "label", "family"))
    assert ((label == IGNORE) <= (t["split"].numpy() == 0)).all() and not (label[t["split"] == 0] >= 12).any()
    places = np.stack([x[label == k].mean(0) for k in range(12)])
    nearest = np.sqrt(((x[:, None] - places) ** 2).sum(2)).min(1)
    known, unknown, rest = (np.median(nearest[one]) for one in (label < 12, label == 12, label == 13))
    assert known < unknown < rest
    shares = [np.mean(label[t["split"] > 0] == k) for k in (12, 13)]
    assert shares == pytest.approx([0.25, 0.25], abs=0.03)
    centres = np.stack([x[family == k].mean(0) for k in range(4)])
    assert (np.sqrt(((x[family >= 0][:, None] - centres) ** 2).sum(2)).argmin(1) == family[family >= 0]).mean() > 0.95
