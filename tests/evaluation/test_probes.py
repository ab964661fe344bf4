"""Linear and nearest-neighbour probes on representations whose answer is known."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError, DataError
from didact.evaluation import knn_probe, linear_probe
from didact.types import IGNORE


def blobs(count=60, spread=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    return centres[labels] + spread * torch.randn(count, 2, generator=generator), labels


def slow_vote(train_x, train_y, query, k, temperature):
    cosine = [float(x @ query / np.linalg.norm(x) / np.linalg.norm(query)) for x in train_x]
    votes = {}
    for i in sorted(range(len(cosine)), key=lambda i: -cosine[i])[:k]:
        votes[train_y[i]] = votes.get(train_y[i], 0.0) + np.exp(cosine[i] / temperature)
    return max(votes, key=votes.get)


def test_separate_classes_are_read_by_both():
    (x, y), (test_x, test_y) = blobs(), blobs(seed=1)
    assert linear_probe(x, y, test_x, test_y) == 1.0
    assert knn_probe(x, y, test_x, test_y) == 1.0


def test_labels_that_have_nothing_to_do_with_the_features_are_not_read():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 5, generator=generator), torch.randint(0, 4, (400,), generator=generator)
    for probe in (linear_probe, knn_probe):
        assert probe(x[:200], y[:200], x[200:], y[200:]) == pytest.approx(0.25, abs=0.12)


def test_a_ring_is_read_by_neighbours_only():
    angle = torch.linspace(0, 2 * torch.pi, 201)[:-1]
    x, y = torch.stack((angle.cos(), angle.sin()), 1), ((angle * 4 / torch.pi).long() % 2)
    assert knn_probe(x[::2], y[::2], x[1::2], y[1::2], neighbours=3) > 0.9
    assert linear_probe(x[::2], y[::2], x[1::2], y[1::2]) < 0.7


def test_votes_agree_with_a_slow_transcription():
    (x, y), (test_x, test_y) = blobs(spread=1.5), blobs(count=45, spread=1.5, seed=1)
    votes = [slow_vote(x.numpy(), y.tolist(), query, 7, 0.3) for query in test_x.numpy()]
    expected = np.mean([vote == label for vote, label in zip(votes, test_y.tolist(), strict=True)])
    assert 0.4 < expected < 1
    assert knn_probe(x, y, test_x, test_y, neighbours=7, temperature=0.3) == pytest.approx(expected)


def test_the_scale_of_a_column_does_not_matter_to_the_linear_probe():
    (x, y), (test_x, test_y) = blobs(spread=0.6), blobs(spread=0.6, seed=1)
    scale = torch.tensor([1e6, 1e-3])
    assert linear_probe(x * scale, y, test_x * scale, test_y) == linear_probe(x, y, test_x, test_y)


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_examples_without_a_label_are_left_out(probe):
    (x, y), (test_x, test_y) = blobs(spread=0.6), blobs(spread=0.6, seed=1)
    wrong, unknown = torch.full((5, 2), 50.0), torch.full((5,), IGNORE)
    with_them = probe(torch.cat((x, wrong)), torch.cat((y, unknown)), test_x, test_y)
    assert with_them == probe(x, y, test_x, test_y)


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_what_cannot_be_probed_is_refused(probe):
    x, y = blobs()
    with pytest.raises(DataError, match="two classes"):
        probe(x, torch.zeros_like(y), x, y)
    with pytest.raises(DataError, match="None of the test"):
        probe(x, y, x, torch.full_like(y, IGNORE))
    with pytest.raises(DataError, match="train_features has 60 rows but train_labels 59"):
        probe(x, y[1:], x, y)
    with pytest.raises(DataError, match="NaN"):
        probe(x.where(x < 1, torch.nan), y, x, y)


def test_settings_out_of_range_are_refused():
    x, y = blobs()
    with pytest.raises(ConfigError, match="neighbours"):
        knn_probe(x, y, x, y, neighbours=0)
    with pytest.raises(ConfigError, match="temperature"):
        knn_probe(x, y, x, y, temperature=0)
    with pytest.raises(ConfigError, match="penalty"):
        linear_probe(x, y, x, y, penalty=-1)
