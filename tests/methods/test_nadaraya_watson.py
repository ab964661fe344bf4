"""The Nadaraya-Watson head against the authors' forward pass, written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import didact
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.losses.classes.kernel import kernel_log_probs
from didact.methods.adaptation.nadaraya_watson import Config, NadarayaWatson
from didact.types import IGNORE, Batch
from transcribed import same_loss

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 1, IGNORE])
PLACE = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1])
BATCH = Batch({"x": X, "label": LABEL, "environment": PLACE, "id": torch.arange(12)})


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    return NadarayaWatson(Config(**options), ModuleLearner(net), BATCH)


def authors(query, support, labels):
    """Their `NWHead.forward` with the kernel `EuclideanDistance`, and the logarithm of `_forward`; one query."""
    scores = -torch.cdist(query.view(1, 1, -1), support[None])
    output = torch.bmm(F.softmax(scores, dim=-1), F.one_hot(labels, 3).float()[None]).squeeze(1)
    return torch.log(output + 1e-12)[0]


@pytest.mark.parametrize("restricted", [True, False])
def test_the_loss_and_its_gradient_are_those_of_the_authors(restricted):
    method = make(restricted=restricted)
    features = method.learner.module[:2](X)
    wanted = 0.0
    for place in (0, 1) if restricted else (None,):
        losses = []
        for i in range(11):
            rest = [j for j in range(11) if j != i and place in (None, PLACE[j].item())]
            if LABEL[i] in LABEL[rest]:
                losses.append(-authors(features[i], features[rest], LABEL[rest])[LABEL[i]])
        assert len(losses) in ((9, 10, 11) if restricted else (11,))
        wanted = wanted + torch.stack(losses).mean() / (2 if restricted else 1)
    same_loss(method.loss(BATCH).total(), wanted, method.learner.module[0].parameters())


def test_the_kernel_is_a_weighted_share_and_survives_an_empty_support():
    q, s, y = X[:2].double().numpy(), X[2:7].double().numpy(), [0, 1, 2, 1, 1]
    weights = np.exp(-np.sqrt(((q[:, None] - s) ** 2).sum(-1)) / 0.7)
    wanted = np.array([[w[np.equal(y, c)].sum() / w.sum() for c in range(3)] for w in weights])
    allowed = torch.ones(2, 5, dtype=torch.bool)
    support = X[2:7].clone().requires_grad_()
    found = kernel_log_probs(X[:2], support, torch.tensor(y), 3, allowed=allowed, temperature=0.7)
    np.testing.assert_allclose(found.exp().detach(), wanted, rtol=1e-4)
    allowed[1] = False
    empty = kernel_log_probs(X[:2], support, torch.tensor(y), 3, allowed=allowed)
    empty.sum().backward()
    assert support.grad.isfinite().all() and empty[1].tolist() == pytest.approx([np.log(1e-12)] * 3)


def test_the_answer_is_the_mean_over_environments_of_those_of_their_means():
    method = make(temperature=0.5)
    method.loss(BATCH)
    with torch.no_grad():
        features = method.learner.module[:2](X)
        told = []
        for place in (0, 1):
            rows = [(c == LABEL) & (place == PLACE) for c in range(3)]
            means = torch.stack([features[row].mean(0) for row in rows])
            told.append((-torch.cdist(features, means) / 0.5).log_softmax(-1))
    torch.testing.assert_close(method.delivered(BATCH).logits, torch.stack(told).mean(0), rtol=1e-4, atol=1e-5)
    fresh = make().delivered(BATCH).logits
    assert fresh.isfinite().all()


def test_what_is_no_environment_is_refused_and_a_run_answers():
    with pytest.raises(ConfigError, match=r"support is 'x', .*--group-column NAME.*digits:coloured"):
        make(support="x")
    given = {"data": "digits:coloured", "student": "mlp:8", "steps": 3, "batch_size": 32, "progress": False}
    assert 0.0 <= didact.run("nadaraya_watson", **given).metrics["accuracy"] <= 1.0
