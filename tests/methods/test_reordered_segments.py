"""Answers under dropout to series, and views in which parts pass backwards, against the authors' steps, written out."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact import worlds
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.losses.labels.gates import steady_gate
from didact.methods.semi_supervised.reordered_segments import Config, ReorderedSegments
from didact.sources.augment_series import reorder
from didact.types import IGNORE, Batch
from didact.worlds.emissions import ORDERS, places
from transcribed import same_loss

X = torch.randn(10, 2, 9, generator=torch.Generator().manual_seed(0))
VIEWS = {"weak.x": X + 0.1, "strong.x": X - 0.3}
LABEL = torch.tensor([0, 1, 2, 1, *[IGNORE] * 6])
BATCH = Batch({"x": X, "label": LABEL, "id": torch.arange(10), **VIEWS})


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(18, 6), nn.Tanh(), nn.Linear(6, 3))
    return ReorderedSegments(Config(**{"segments": 4, **options}), ModuleLearner(net), BATCH)


def get_mask(max_prob, max_std):
    """The authors' function of that name."""
    mask_prob = 2 * torch.sigmoid(torch.exp(max_prob) - math.exp(1))
    return mask_prob * (2 * (torch.sigmoid(1 / (20 * max_std + 1e-9)) - 0.5))


@pytest.mark.parametrize(("fraction", "steady"), [(0.1, True), (0.5, True), (1.0, False)])
def test_the_loss_is_that_of_the_authors(fraction, steady):
    method = make(steady=steady, passes=7, drop_rate=0.4)
    method.fraction, net = fraction, method.learner.module
    torch.manual_seed(5)
    found = method.loss(BATCH)
    torch.manual_seed(5)
    with torch.no_grad():
        dropped = F.dropout(net[:3](VIEWS["weak.x"]).expand(7, 10, 6), 0.4)
        pseudo_label = F.softmax(net[3](dropped), dim=-1)
    probs_std, mean = torch.std(pseudo_label, dim=0), torch.mean(pseudo_label, dim=0)
    max_probs, targets_u = torch.max(mean, dim=-1)
    max_std = probs_std.gather(1, targets_u.view(-1, 1)).squeeze(1)
    mask = get_mask(max_probs, max_std) if steady else torch.ones(10)
    strong = VIEWS["strong.x"].clone()
    for row, turned in enumerate((torch.rand(10, 1, 4, 1) < 0.5)[:, 0, :, 0]):
        for part in range(4):
            if turned[part]:
                at = [2 * part, 2 * part + 1]
                strong[row][:, at] = VIEWS["strong.x"][row][:, at[::-1]]
    assert not torch.equal(strong, VIEWS["strong.x"])
    ratio = math.sin(0.5 * math.pi * max(0.0, fraction - 0.1667) / (1 - 0.1667))
    loss_un = (F.cross_entropy(net(strong[4:]), targets_u[4:], reduction="none") * mask[4:]).mean()
    expected = F.cross_entropy(net(VIEWS["weak.x"][:4]), LABEL[:4]) + ratio * 2 * loss_un
    same_loss(found.total(), expected, net.parameters())
    assert float(found["admitted"].mean()) == pytest.approx(float(mask[4:].mean()))


def test_an_answer_that_never_varies_counts_in_full_if_it_is_sure():
    found = steady_gate(torch.tensor([1.0, 0.5, 1.0]), torch.tensor([0.0, 0.0, 0.1]))
    wanted = [1.0, 2 / (1 + math.exp(math.e - math.exp(0.5))), 2 / (1 + math.exp(-0.5)) - 1]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)


def test_parts_pass_backwards_in_the_given_share():
    x = torch.arange(1000 * 7.0).view(1000, 1, 7)
    torch.manual_seed(0)
    found = reorder(x, 3, 0.3)
    assert torch.equal(found[..., 6], x[..., 6])
    turned = (found[..., :6:2] == x[..., 1:6:2]).double()
    assert float(turned.mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 3000))
    assert torch.equal(reorder(x, 1, 1.0), x.flip(2)) and torch.equal(reorder(x, 3, 0.0), x)


def test_a_motion_is_its_order_of_parts():
    t = worlds.load("emissions:motion").tensors
    for row in range(50):
        states = t["states"][row].tolist()
        order = [states[0]] + [b for a, b in itertools.pairwise(states) if a != b]
        assert tuple(order) == ORDERS[t["label"][row]]
        lengths = np.diff([0, *np.flatnonzero(np.diff(states)) + 1, 32])
        assert lengths.min() >= 4 and lengths.sum() == 32
    apart = t["x"].mT - places()[t["states"]]
    assert float(apart.std()) == pytest.approx(2.0, rel=0.02)
    assert len(t["label"].unique()) == len(ORDERS) == 6


def test_what_is_no_series_is_refused():
    for sample, shape in ((Batch({"x": X[:, 0], "id": LABEL}), r"\[9\]"), (Batch({"id": LABEL}), r"\[\]")):
        with pytest.raises(ConfigError, match=f"segments is 4, but the inputs have the shape {shape}"):
            ReorderedSegments(Config(), ModuleLearner(nn.Linear(9, 3)), sample)
    with pytest.raises(ConfigError, match="no linear head, before which reordered_segments"):
        ReorderedSegments(Config(), ModuleLearner(nn.Conv1d(2, 3, 9), head=None), BATCH)
