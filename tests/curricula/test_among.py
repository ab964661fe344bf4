"""Passes over some of the examples."""

import pytest
import torch

from didact.curricula import Among
from didact.errors import CheckpointError, ConfigError


def test_passes_go_over_the_chosen_rows_and_resume():
    among = Among(20, 1)
    among.only(torch.tensor([3, 5, 8, 13, 2, 19, 7]))
    drawn = [among.sample(3) for _ in range(6)]
    assert all(len(part) == 3 for part in drawn)
    assert all(torch.cat(drawn[i : i + 2]).unique().numel() == 6 for i in (0, 2, 4))
    assert set(torch.cat(drawn).tolist()) == {3, 5, 8, 13, 2, 19, 7}
    assert sorted(among.sample(50).tolist()) == [2, 3, 5, 7, 8, 13, 19]
    state, other = among.state_dict(), Among(20, 9)
    expected = [among.sample(2) for _ in range(9)]
    other.load_state_dict(state)
    assert all(torch.equal(one, other.sample(2)) for one in expected)
    with pytest.raises(CheckpointError, match="chooses among 20 examples, but the data have 21"):
        Among(21).load_state_dict(state)
    with pytest.raises(ConfigError, match="The number of rows to learn from"):
        among.only(torch.zeros(0, dtype=torch.int64))
