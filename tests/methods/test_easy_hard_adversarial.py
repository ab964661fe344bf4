"""Easy and hard rows: the split in NumPy, and the loss and its gradient written out."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.learners import ModuleLearner, dropped_scores
from didact.losses.classes.spread import score_variance, upper_part
from didact.methods.adaptation.easy_hard_adversarial import Config, EasyHardAdversarial
from didact.types import Batch
from transcribed import same_loss

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
VIEW = X + 0.3 * torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
BATCH = Batch({"id": torch.arange(9), "weak.x": X, "strong.x": VIEW})


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        method = EasyHardAdversarial(Config(**options), ModuleLearner(net))
        for weight in net.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
    return method


def by_hand(scores, level):
    """The variance of each row, one answer and class at a time; and whether its rank, of B, reaches the level."""
    passes, rows, classes = scores.shape
    variance = np.zeros(rows)
    for i in range(rows):
        for c in range(classes):
            mean = sum(scores[m, i, c] for m in range(passes)) / passes
            variance[i] += sum((scores[m, i, c] - mean) ** 2 for m in range(passes)) / passes
    rank = [1 + sum(variance < one) for one in variance]
    return variance, [int(r / rows >= level) for r in rank]


@pytest.mark.parametrize("level", [0.3, 0.5, 0.9])
def test_rows_are_split_by_the_rank_of_their_variance(level):
    scores = torch.rand(4, 9, 3, generator=torch.Generator().manual_seed(2))
    variance, part = by_hand(scores.double().numpy(), level)
    np.testing.assert_allclose(score_variance(scores), variance, rtol=1e-5)
    assert upper_part(score_variance(scores), level).tolist() == part


def test_dropped_features_are_missing_from_the_head_alone():
    head = nn.Linear(2, 3)
    scores = dropped_scores(head, torch.tensor([[3.0, -2.0]]), passes=200, rate=0.5)
    with torch.no_grad():
        kept = torch.tensor([[a * 6.0, b * -4.0] for a in (0, 1) for b in (0, 1)])
        wanted = head(kept).softmax(-1)
    nearest = (scores[:, 0, None] - wanted).abs().amax(-1)
    assert nearest.amin(1).max() < 1e-6
    assert set(nearest.argmin(1).tolist()) == {0, 1, 2, 3}
    with pytest.raises(ConfigError, match="passes is 1"):
        dropped_scores(head, torch.ones(1, 2), passes=1, rate=0.5)


def test_its_gradients_are_those_of_its_three_objectives():
    """The net learns admitted answers and unlearns the parts, whose classifier learns them."""
    method = make(reversal=2.0, admitted=0.4, drop_rate=0.4, passes=7)
    method.fraction = 0.25
    net, average, told = method.learner.module, method.average.learner.module, method.classifier.layers
    with torch.no_grad():
        torch.manual_seed(3)
        probs = average(X).softmax(1)
        hidden = average[:2](X)
        scores = torch.stack([average[2](one) for one in F.dropout(hidden.expand(7, 9, 5), 0.4)]).softmax(-1)
    _, part = by_hand(scores.double().numpy(), 0.5)
    gate = torch.zeros(9)
    gate[probs.amax(1).argsort()[5:]] = 1.0  # ranks 6 to 9 of 9 are at least 0.6
    assert 0 < sum(part) < 9
    pseudo = (F.cross_entropy(net(VIEW), probs.argmax(1), reduction="none") * gate).sum() / gate.sum()
    torch.manual_seed(3)
    found = method.loss(BATCH).total()
    plain = F.cross_entropy(told(net[:2](VIEW)), torch.tensor(part))
    torch.testing.assert_close(found, pseudo + plain)
    same_loss(found, pseudo - 2.0 * math.tanh(1.25) * plain, net.parameters(), rtol=math.inf)
    mine, wanted = (torch.autograd.grad(one, list(told.parameters()), retain_graph=True) for one in (found, plain))
    for one, other in zip(mine, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_the_average_is_delivered_and_moves_by_its_decay():
    method = make(ema_decay=0.9)
    before = method.delivered.module[0].weight.clone()
    method.after_step()
    torch.testing.assert_close(method.delivered.module[0].weight, 0.9 * before + 0.1 * method.learner.module[0].weight)
    with pytest.raises(ConfigError, match="no linear head"):
        EasyHardAdversarial(Config(), ModuleLearner(nn.Conv1d(3, 2, 1)))
