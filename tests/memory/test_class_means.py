"""Running means by class against sums over everything that was seen."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.memory import ClassMeans


def test_the_means_weigh_older_batches_less():
    generator = np.random.default_rng(0)
    batches = [(generator.integers(-1, 3, 7), generator.normal(size=(7, 2)).astype(np.float32)) for _ in range(5)]
    means = ClassMeans(3, (2,), decay=0.8)
    for labels, values in batches:
        means.update(torch.from_numpy(labels), torch.from_numpy(values))
    for c in range(3):
        top = sum(0.8 ** (4 - i) * values[labels == c].sum(0) for i, (labels, values) in enumerate(batches))
        bottom = sum(0.8 ** (4 - i) * (labels == c).sum() for i, (labels, _) in enumerate(batches))
        assert means.mean[c].numpy() == pytest.approx(top / bottom, rel=1e-5)


def test_a_class_that_was_not_seen_has_the_prior():
    means = ClassMeans(2, prior=0.25)
    means.update(torch.tensor([1, -100]), torch.tensor([3.0, float("nan")]))
    assert means.mean.tolist() == [0.25, 3.0]


def test_sums_can_be_added_and_state_survives():
    first, second = ClassMeans(2, (3,), decay=1.0), ClassMeans(2, (3,), decay=1.0)
    labels, values = torch.tensor([0, 0, 1]), torch.arange(9.0).view(3, 3)
    first.update(labels, values)
    second.add(torch.stack([values[:2].sum(0), values[2]]), torch.tensor([2.0, 1.0]))
    assert torch.equal(first.mean, second.mean)
    third = ClassMeans(2, (3,))
    third.load_state_dict(first.state_dict())
    assert torch.equal(third.mean, first.mean)


def test_a_class_that_stays_away_keeps_its_mean():
    means = ClassMeans(2, decay=0.1)
    means.update(torch.tensor([0]), torch.tensor([3.0]))
    for _ in range(60):
        means.update(torch.tensor([1]), torch.tensor([5.0]))
    assert means.mean.tolist() == [3.0, 5.0]
    means.update(torch.tensor([0]), torch.tensor([4.0]))
    assert means.mean.tolist() == [4.0, 5.0]


@pytest.mark.parametrize("options", [{"classes": 0}, {"classes": 2, "decay": 0.0}, {"classes": 2, "decay": 1.1}])
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="must be"):
        ClassMeans(**options)
