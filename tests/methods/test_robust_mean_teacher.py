"""Robust mean teacher against the authors' losses, written out."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import didact
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.losses.classes.divergence import symmetric_cross_entropy
from didact.losses.pairs.views import multi_view_nt_xent, nt_xent
from didact.methods.adaptation.robust_mean_teacher import Config, RobustMeanTeacher
from didact.types import Batch
from transcribed import same_loss

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
VIEW = X + 0.3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
BATCH = Batch({"x": X, "augmented.x": VIEW, "id": torch.arange(6)})


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        method = RobustMeanTeacher(Config(**options), ModuleLearner(net))
        for weight in net.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
    return method


def authors_contrast(features, temperature):
    """Their `contrastive_loss` of features [B, views, D] in the mode `all`, without labels."""
    size, views = features.shape[:2]
    rows = F.normalize(torch.cat(torch.unbind(features, dim=1), dim=0), p=2, dim=1)
    logits = rows @ rows.T / temperature
    logits = logits - logits.max(1, keepdim=True).values.detach()
    others = 1 - torch.eye(size * views)
    mask = torch.eye(size).repeat(views, views) * others
    log_prob = logits - torch.log((logits.exp() * others).sum(1, keepdim=True))
    return -((mask * log_prob).sum(1) / mask.sum(1)).view(views, size).mean()


def test_the_loss_and_its_gradient_are_those_of_the_authors():
    method = make(weight=0.7, contrast=0.4, temperature=0.2, width=6)
    net, average, prototypes = method.learner.module, method.teacher.learner.module, method.prototypes.value
    hidden, hidden_aug = net[:2](X), net[:2](VIEW)
    x, x_aug, x_ema = net(X), net(VIEW), average(X)
    quarters = [(x_ema, x), (x, x_ema), (x_ema, x_aug), (x_aug, x_ema)]
    entropy = sum(-0.25 * (a.softmax(1) * b.log_softmax(1)).sum(1) for a, b in quarters).mean(0)
    with torch.no_grad():
        cosines = F.cosine_similarity(prototypes[:, None], hidden[None], dim=-1)
        nearest = cosines.argmax(0)
    features = torch.stack([prototypes[nearest], hidden, hidden_aug], 1)
    contrast = authors_contrast(method.projection(features.flatten(0, 1)).view(6, 3, -1), 0.2)
    wanted = 0.7 * entropy + 0.4 * contrast
    same_loss(method.loss(BATCH).total(), wanted, [*net.parameters(), *method.projection.parameters()])
    assert set(nearest.tolist()) != {0}


def test_of_two_views_the_contrast_is_that_of_simclr():
    for temperature in (0.1, 0.5):
        found = multi_view_nt_xent([X, VIEW], temperature=temperature)
        torch.testing.assert_close(found.sum, nt_xent(X, VIEW, temperature=temperature).sum)
    with pytest.raises(ConfigError, match="give two or more views"):
        multi_view_nt_xent([X])


def test_the_symmetric_loss_is_entropy_where_both_agree():
    entropy = torch.distributions.Categorical(logits=X).entropy()
    torch.testing.assert_close(symmetric_cross_entropy(X, X).mean(), entropy.mean())
    one, other = symmetric_cross_entropy(X, VIEW), symmetric_cross_entropy(VIEW, X)
    torch.testing.assert_close(one.sum, other.sum)


def test_the_average_moves_by_its_decay_without_a_warm_up():
    method = make(ema_decay=0.9)
    before = copy.deepcopy(method.teacher.learner.module[0].weight)
    method.after_step()
    wanted = 0.9 * before + 0.1 * method.learner.module[0].weight
    torch.testing.assert_close(method.teacher.learner.module[0].weight, wanted)


def test_a_student_without_a_head_is_refused_and_adapt_knows_the_method(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no linear head"):
        RobustMeanTeacher(Config(), ModuleLearner(nn.Conv1d(3, 2, 1)))
    monkeypatch.chdir(tmp_path)
    given = {"data": "digits:blurred", "student": "mlp:6", "steps": 5, "progress": False}
    didact.run("supervised", directory="run", **given)
    found = didact.adapt("run", 0.5 * torch.rand(40, 1, 8, 8).numpy(), by="robust-mean-teacher", lr=0.01, width=8)
    assert found.by == "robust_mean_teacher" and found.rows == 40
    assert not torch.equal(found.student.learner.head.weight, didact.load("run").learner.head.weight)
