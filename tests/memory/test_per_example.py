"""A table with a row an example against dictionaries."""

import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.memory import PerExample


def test_columns_behave_as_dictionaries():
    table, slow = PerExample(6, {"loss": (), "state": (2, 3)}), {"loss": {}, "state": {}}
    for step in range(5):
        rows = torch.randperm(6, generator=torch.Generator().manual_seed(step))[:3]
        for name, shape in (("loss", ()), ("state", (2, 3))):
            values = torch.randn(3, *shape)
            table.put(rows, name, values.requires_grad_())
            slow[name].update(zip(rows.tolist(), values.detach(), strict=True))
    for name in slow:
        for row in range(6):
            expected = slow[name].get(row, torch.zeros_like(table.get(torch.tensor([0]), name)[0]))
            assert torch.equal(table.get(torch.tensor([row]), name)[0], expected)
    assert table.seen.tolist() == [row in slow["loss"] for row in range(6)]
    assert not table.get(torch.tensor([1]), "loss").requires_grad


def test_what_is_dropped_is_as_if_it_had_never_been_put():
    table = PerExample(3, {"hits": ()}, dtypes={"hits": torch.int64})
    table.put(torch.tensor([0, 2]), "hits", torch.tensor([4, 5]))
    table.drop(torch.tensor([2]))
    assert table.hits.tolist() == [4, 0, 0] and table.hits.dtype == torch.int64
    assert table.seen.tolist() == [True, False, False]


def test_it_is_saved_with_the_module_that_holds_it():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = PerExample(4, {"belief": (2,)})

    one, other = Holder(), Holder()
    one.table.put(torch.tensor([3]), "belief", torch.tensor([[1.0, 2.0]]))
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.table.belief, one.table.belief) and other.table.seen.tolist() == [False] * 3 + [True]
    assert len(other.table) == 4 and not list(other.parameters())


def test_a_table_made_in_inference_mode_can_be_written_later():
    with torch.inference_mode():
        table = PerExample(2, {"loss": ()})
    table.put(torch.tensor([1]), "loss", torch.ones(1))
    assert table.loss.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("name", ["seen", "put", "a.b"])
def test_names_that_are_taken_are_refused(name):
    with pytest.raises(ConfigError, match=f"columns has the name '{name}'"):
        PerExample(2, {name: ()})


def test_no_rows_are_refused():
    with pytest.raises(ConfigError, match="size is 0"):
        PerExample(0, {"loss": ()})
