"""Classes by the domains that they shift between, against the authors' steps, written out."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF
from torch import nn

import didact
from didact import worlds
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.latent_classes import class_shares
from didact.losses.labels.factorising import domain_chances, latent_mixes, matching
from didact.methods.adaptation.latent_label_shift import Config, LatentLabelShift
from didact.types import IGNORE, Batch
from didact.worlds.digits.mixed import shares
from transcribed import same_loss

N, C, K = 40, 3, 4
RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.standard_normal((N, 6))).float()
DOMAIN = torch.arange(N) % K
LABEL = torch.where(torch.arange(N) < 9, torch.arange(N) % C, IGNORE)
BATCH = Batch({"x": X, "label": LABEL, "domain": DOMAIN, "id": torch.arange(N), "row": torch.arange(N)})


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, C))
    return LatentLabelShift(Config(**{"domains": K, "bins": 6, **options}), ModuleLearner(net), BATCH, N)


def authors_prior(values, domains, bins):
    """Their `estimate_class_prior`, from the discrete values on."""
    x_matrix = np.zeros((bins, K))
    for value, domain in zip(values, domains, strict=True):
        x_matrix[value, domain] += 1
    x_matrix = x_matrix / x_matrix.sum(0, keepdims=True)
    model = NMF(n_components=C, init="random", random_state=0, max_iter=2000)
    w, c = model.fit_transform(x_matrix.T).T, model.components_.T
    w = w * c.sum(0)[:, None]
    return w / w.sum(0, keepdims=True)


def authors_answers(p_d_x, p_y_d, domains=None):
    """Their `solve_p_y_x` and `solve_p_y_x_d`, for domains of one size."""
    p_d_y = p_y_d.T / p_y_d.T.sum(0, keepdims=True)
    found = (np.linalg.pinv(p_d_y) @ p_d_x.T).T
    if domains is not None:
        found = found * p_d_y[domains]
    return found / found.sum(1, keepdims=True)


def test_it_answers_as_the_authors_do():
    values = RANDOM.integers(0, 6, N)
    counts = np.zeros((6, K))
    np.add.at(counts, (values, DOMAIN.numpy()), 1)
    p_y_d = authors_prior(values, DOMAIN.numpy(), 6)
    mixes = latent_mixes(torch.from_numpy(counts), C, seed=0)
    np.testing.assert_allclose(mixes, p_y_d, atol=1e-6)
    # Answers that are mixtures of what classes are like, as those of a perfect classifier of domains.
    p_d_y = p_y_d.T / p_y_d.T.sum(0, keepdims=True)
    p_d_x = RANDOM.dirichlet(np.ones(C), N) @ p_d_y.T
    chances = domain_chances(mixes, torch.from_numpy(counts).sum(0))
    for domains in (None, DOMAIN):
        found = class_shares(torch.from_numpy(p_d_x), chances, domains)
        np.testing.assert_allclose(found, authors_answers(p_d_x, p_y_d, domains), atol=1e-4)


def test_domains_of_other_sizes_are_weighed_by_bayes_theorem():
    mixes, sizes = np.array([[0.8, 0.3], [0.2, 0.7]]), np.array([30, 10])
    joint = mixes * sizes / 40
    wanted = (joint / joint.sum(1, keepdims=True)).T
    np.testing.assert_allclose(domain_chances(torch.from_numpy(mixes), torch.from_numpy(sizes)), wanted)


def test_the_best_assignment_is_the_best_of_all():
    scores = torch.tensor([[3.0, 2.9, 0.0, 1.0], [3.0, 0.0, 0.0, 2.0]])
    assert matching(scores).tolist() == linear_sum_assignment(-scores.numpy())[1].tolist() == [1, 0]


def test_it_learns_domains_and_delivers_classes_that_few_labels_name():
    method = make()
    assert torch.allclose(method.delivered(BATCH).logits.exp().sum(1), torch.ones(N))
    logits = method.classifier(method.learner.module[:2](X))
    wanted = -logits.log_softmax(1)[torch.arange(N), DOMAIN].mean()
    same_loss(method.loss(BATCH).total(), wanted, [*method.classifier.parameters(), method.learner.module[0].weight])
    chances = method.chances()
    told, known = logits.detach().softmax(1), torch.arange(9)
    own = class_shares(told.double(), chances, DOMAIN)[known]
    hits = [own[known, (LABEL[:9] + turn) % C].sum() for turn in range(C)]
    assert max(hits) == hits[0]
    delivered = method.delivered
    torch.testing.assert_close(delivered(BATCH).logits.exp(), class_shares(told, chances.float(), DOMAIN))
    blind = make(at_test=False)
    blind.loss(BATCH)
    for found in (blind.delivered(BATCH), delivered(Batch({"x": X, "id": BATCH["id"]}))):
        torch.testing.assert_close(found.logits.exp(), class_shares(told, chances.float()))


def test_domains_differ_in_nothing_but_the_shares_of_classes():
    t = {key: value.numpy() for key, value in worlds.load("digits:mixes").tensors.items()}
    assert np.array_equal(t["label"], t["digit"] % 5)
    for label in range(5):
        here = t["label"] == label
        found = np.bincount(t["domain"][here], minlength=8) / here.sum()
        np.testing.assert_allclose(found, shares()[label].numpy(), atol=4 * 0.5 / np.sqrt(here.sum()))
        first = np.bincount(t["domain"][here & (t["digit"] == label)], minlength=8)
        np.testing.assert_allclose(first / first.sum(), found, atol=0.12)
    assert float(np.linalg.cond(shares().numpy())) == pytest.approx(2.57, abs=0.01)
    assert (shares().argmax(0).numpy()[t["domain"]] == t["label"]).mean() == pytest.approx(0.64, abs=0.01)


def test_what_is_no_domain_is_refused_and_a_run_answers():
    with pytest.raises(ConfigError, match=r"domain is 'x', .*from Python.*digits:mixes"):
        make(domain="x")
    given = {"data": "digits:mixes", "labels": 10, "student": "mlp:8", "steps": 3, "batch_size": 64, "progress": False}
    assert 0.0 <= didact.run("latent_label_shift", **given).metrics["accuracy"] <= 1.0
