"""Bags of few candidates first."""

import math

import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.bags import bag_net
from didact.methods.bags.paced_bags import Config, PacedBags
from didact.types import Examples

COUNTS = torch.tensor([3, 1, 4, 1, 2, 4, 3, 2, 1, 4])


def bags(counts=COUNTS):
    x = torch.randn(len(counts), 4, 5, generator=torch.Generator().manual_seed(0))
    x = x * (torch.arange(4) < counts[:, None])[..., None]
    tensors = {"x": x, "label": torch.arange(len(counts)) % 2, "id": torch.arange(len(counts))}
    return Examples(tensors=tensors, task="classification", modality="table", classes=("no", "yes"))


def method(seed=0, counts=COUNTS, **options):
    torch.manual_seed(1)
    learner = bag_net(ModuleLearner(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2))), "attention")
    return PacedBags(Config(**options), learner, bags(counts), seed)


def stages(one):
    """The rows of each stage, by the share of the budget at which it begins."""
    found = {0.0: one.curriculum.rows.tolist()}
    for percent in range(101):
        one.fraction = percent / 100
        one.after_step()
        if one.curriculum.rows.tolist() != list(found.values())[-1]:
            found[one.fraction] = one.curriculum.rows.tolist()
    return found


@pytest.mark.parametrize(("first", "sign"), [("few", 1), ("many", -1)])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_stage_takes_in_the_bags_of_fewest_candidates(first, sign, count):
    found = stages(method(first=first, stages=count, paced=0.5))
    assert [len(rows) for rows in found.values()] == [math.ceil(10 * (k + 1) / count) for k in range(count)]
    starts = [0.5 * k / (count - 1) for k in range(count)] if count > 1 else [0.0]
    assert list(found) == pytest.approx(starts, abs=0.011)
    for rows in found.values():
        inside = sorted((sign * COUNTS[rows]).tolist())
        assert inside == sorted((sign * COUNTS).tolist())[: len(rows)]
    assert sorted(list(found.values())[-1]) == list(range(10))


def test_bags_with_as_many_candidates_come_in_random_order_and_so_do_all_on_request():
    assert len({tuple(method(seed=seed).order.tolist()) for seed in range(6)}) > 1
    firsts = [COUNTS[method(seed=seed, first="random").curriculum.rows].double().mean() for seed in range(60)]
    assert float(torch.stack(firsts).mean()) == pytest.approx(2.5, abs=0.3)


def test_bags_that_are_all_alike_are_refused():
    with pytest.raises(ConfigError, match="All 10 bags have 2 candidates, so that none is easier"):
        method(counts=torch.full((10,), 2))
