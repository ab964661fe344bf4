"""Processes that learn together: what they sum and gather is what one process has."""

import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.learners import Moments
from didact.loop.place import find_place
from didact.loop.statistics import SharedStatistics
from didact.types import Batch, Place
from together import fork_together


def test_two_processes_sum_and_gather_as_one(tmp_path):
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))

    def work():
        place = find_place(torch.device("cpu"))
        mine = place.mine(Batch({"x": x, "id": torch.arange(5)}))
        weight = torch.eye(3, requires_grad=True)
        rows = place.gather(mine["x"] @ weight)
        # All pairs are compared; the mean of the processes' sums over the sum of their counts.
        loss = (rows @ rows.T).exp().sum() / (place.size * 25)
        loss.backward()
        total = [mine["x"].sum(0), torch.tensor(float(mine.size)), weight.grad]
        place.sum(total)
        (most,) = place.max([float(place.rank)])
        torch.save([rows.detach(), *total, most, mine["id"]], tmp_path / f"{place.rank}.pt")

    fork_together(work, 2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    weight = torch.eye(3, requires_grad=True)
    rows = x @ weight
    ((rows @ rows.T).exp().sum() / 25).backward()
    for gathered, summed, count, gradient, most, _ in found:
        torch.testing.assert_close(gathered, rows.detach())
        torch.testing.assert_close(summed, x.sum(0))
        assert (float(count), most) == (5.0, 1.0)
        torch.testing.assert_close(gradient, weight.grad)
    assert [one[-1].tolist() for one in found] == [[0, 1, 2], [3, 4]]


def test_moments_are_those_of_all_rows(tmp_path):
    x = torch.randn(7, 3, 2, 2, generator=torch.Generator().manual_seed(1))

    def work():
        place, moments = find_place(torch.device("cpu")), Moments(x[:2])
        moments.accumulate(place.mine(Batch({"x": x, "id": torch.arange(7)}))["x"], place)
        moments.update()
        torch.save([moments.mean, moments.spread], tmp_path / f"{place.rank}.pt")

    fork_together(work, 2)
    every = torch.cat([x[:2], x]).double().transpose(0, 1).flatten(1)
    for rank in range(2):
        mean, spread = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(mean, every.mean(1).float())
        torch.testing.assert_close(spread, every.std(1, correction=0).float())


def normalised(x, count):
    """What batch normalisation gives of x, the gradients of x and of the weights, and the state of the net."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4, affine=False))
    x = x.clone().requires_grad_()
    out = net(x)
    (out**3).sum().div(count).backward()
    return out.detach(), x.grad, [weight.grad for weight in net.parameters()], net.state_dict()


@pytest.mark.parametrize("sizes", [(3, 2), (5, 0), (0, 0)])
def test_batch_normalisation_is_that_of_all_rows(tmp_path, sizes):
    x = torch.randn(sum(sizes), 3, 2, 2, generator=torch.Generator().manual_seed(3)) * 2.0 + 1.0

    def work():
        place = find_place(torch.device("cpu"))
        with SharedStatistics(place):
            found = normalised(x.split(sizes)[place.rank], 5)
        place.sum(found[2])
        torch.save(found, tmp_path / f"{place.rank}.pt")

    fork_together(work, 2)
    out, grad, grads, state = normalised(x, 5)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        expected = (out.split(sizes)[rank], grad.split(sizes)[rank], grads, state)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_process_does_nothing():
    place, batch = find_place(torch.device("cpu")), Batch({"id": torch.arange(3)})
    rows = torch.ones(3, requires_grad=True)
    assert place.mine(batch) is batch
    assert place.gather(rows) is rows
    assert place.gather_objects("a") == ["a"]
    assert place.max([0.5]) == [0.5]
    before = torch.ones(2)
    place.sum([before])
    assert before.tolist() == [1, 1]


def test_the_rows_of_all_processes_are_the_batch():
    batch = Batch({"id": torch.arange(7)})
    places = [Place(rank=rank, size=3) for rank in range(3)]
    assert torch.cat([place.mine(batch)["id"] for place in places]).tolist() == list(range(7))
    assert [row for place in places for row in place.shard(range(7))] == list(range(7))
    assert [len(place.shard(range(2))) for place in places] == [1, 1, 0]


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match="2 rows for 3 processes"):
        Place(size=3).mine(Batch({"id": torch.arange(2)}))
    with pytest.raises(ConfigError, match="rank is 2"):
        Place(rank=2, size=2)
