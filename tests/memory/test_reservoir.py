"""The reservoir against the chances that each row must have."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError, DataError
from didact.memory import Reservoir


def filled(size, batches, batch):
    memory = Reservoir(size, {"x": (2,), "label": ()}, dtypes={"label": torch.int64})
    for k in range(batches):
        number = torch.arange(batch) + k * batch
        memory.put(x=number.float().view(-1, 1).expand(-1, 2), label=number)
    return memory


def test_all_rows_stay_while_there_is_room():
    assert filled(8, 2, 4).table.x[:, 0].tolist() == list(range(8))


def test_early_and_late_rows_have_the_same_chance():
    torch.manual_seed(0)
    counts = np.zeros(40)
    for _ in range(200):
        memory = filled(8, 10, 4)
        found = memory.table.x[:, 1].long().numpy()
        assert memory.table.label.tolist() == found.tolist()
        assert len(set(found)) == 8
        counts[found] += 1
    # A row stays with chance 8 / 40; the four deviations allowed are those of 200 draws.
    assert counts.reshape(10, 4).mean(1) == pytest.approx(np.full(10, 40.0), abs=4 * (200 * 0.2 * 0.8 / 4) ** 0.5)


def test_only_what_was_put_is_drawn():
    torch.manual_seed(0)
    drawn = filled(16, 1, 4).draw(200)
    assert drawn["x"].shape == (200, 2)
    assert set(drawn["x"][:, 0].tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert drawn["x"][:, 1].long().tolist() == drawn["label"].tolist()
    assert Reservoir(3, {"x": (1,)}).draw(2)["x"].tolist() == [[0.0], [0.0]]


def test_its_state_survives():
    first, second = filled(4, 3, 2), filled(4, 1, 1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.table.x, second.table.x) and second.seen.item() == 6


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="size"):
        Reservoir(0, {"x": (1,)})
    with pytest.raises(DataError, match="at most 2"):
        Reservoir(2, {"x": (1,)}).put(x=torch.ones(3, 1))
    with pytest.raises(DataError, match="was given y, but has x"):
        Reservoir(2, {"x": (1,)}).put(y=torch.ones(1, 1))
