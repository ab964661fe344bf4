"""Rows by id against a dictionary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import CheckpointError, DataError
from didact.memory import Index

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=100, deadline=None)
@given(st.lists(INT64, unique=True, max_size=20), st.lists(INT64, max_size=8), st.randoms())
def test_every_example_has_the_row_of_its_position(ids, others, chance):
    index, slow = Index(torch.tensor(ids, dtype=torch.int64)), {example: row for row, example in enumerate(ids)}
    asked = [*ids, *others]
    chance.shuffle(asked)
    assert len(index) == len(ids)
    assert index.find(torch.tensor(asked, dtype=torch.int64)).tolist() == [slow.get(i, len(ids)) for i in asked]
    known = [i for i in asked if i in slow]
    assert index.rows(torch.tensor(known, dtype=torch.int64)).tolist() == [slow[i] for i in known]


def test_ids_of_any_shape_are_looked_up():
    assert Index(torch.tensor([9, -4, 7])).rows(torch.tensor([[7, 9], [-4, 7]])).tolist() == [[2, 0], [1, 2]]


def test_an_id_that_comes_twice_is_refused():
    with pytest.raises(DataError, match="rows 2 and 4 have the same id, -4"):
        Index(torch.tensor([9, -4, 7, -4]))


def test_an_unknown_id_is_named():
    with pytest.raises(DataError, match=r"The id 5 \(and 1 others\) is none of the 2 examples"):
        Index(torch.tensor([9, -4])).rows(torch.tensor([9, 5, 6]))


@pytest.mark.parametrize("other", [[9, -4], [9, -4, 8], [-4, 9, 7]])
def test_what_is_of_other_examples_is_not_resumed(other):
    index = Index(torch.tensor([9, -4, 7]))
    index.load_state_dict(Index(torch.tensor([9, -4, 7])).state_dict())
    with pytest.raises(CheckpointError, match="of other examples than the 3 here"):
        index.load_state_dict(Index(torch.tensor(other)).state_dict())
