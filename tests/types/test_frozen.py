"""Weights that files hold stand in states by their hash, for as long as they are what was read."""

import copy

import pytest
import torch
from torch import nn

from didact.errors import CheckpointError
from didact.types import Method
from didact.types.frozen import load_module_state, mark_frozen, module_state
from peak import peak_of

FROZEN = ["0.weight", "0.bias", "1.weight", "1.bias"]


def model(seed=0, dtype=torch.float32):
    """A frozen base with statistics that move, and a head."""
    torch.manual_seed(seed)
    found = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(dtype)
    found[:2].requires_grad_(False)
    return found


def marked(**options):
    found = model(**options)
    mark_frozen(found)
    return found


def hashes(module):
    return [name for name, kept in module_state(module).items() if isinstance(kept, str)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_frozen_and_was_read_is_left_out_and_what_moves_is_not(dtype):
    first, again = marked(dtype=dtype), marked(dtype=dtype)
    assert hashes(first) == FROZEN
    assert hashes(model(dtype=dtype)) == []
    first(torch.randn(8, 3, dtype=dtype))
    with torch.no_grad():
        first[2].weight += 1.0
    assert hashes(first) == FROZEN
    load_module_state(again, module_state(first))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert again[1].num_batches_tracked == 1
    # Loading has written to nothing that is frozen.
    assert hashes(again) == FROZEN


def write(module):
    with torch.no_grad():
        module[0].bias[1] += 1e-3


def swap(module):
    """The sum of the bits stays as it is."""
    with torch.no_grad():
        module[0].bias.copy_(module[0].bias.flip(0))


def write_past_the_count(module):
    module[0].bias.data[1] += 1e-3


def replace(module):
    module[0].bias = nn.Parameter(module[0].bias.detach().clone(), requires_grad=False)


def train(module):
    module[0].bias.requires_grad_(True)


@pytest.mark.parametrize("change", [write, swap, write_past_the_count, replace, train])
def test_what_has_changed_is_kept_and_taken_back(change):
    first, again = marked(), marked()
    change(first)
    assert hashes(first) == [name for name in FROZEN if name != "0.bias"]
    load_module_state(again, module_state(first))
    assert torch.equal(again[0].bias, first[0].bias)


def test_a_copy_is_kept_whole():
    """An average of a student begins as a copy of it, and moves."""
    assert hashes(copy.deepcopy(marked())) == []


def test_another_base_is_refused():
    state = module_state(marked())
    for other in (marked(seed=1), model(seed=1), marked(dtype=torch.float64)):
        with pytest.raises(CheckpointError, match=r"0\.weight is frozen, and was read from a file that has changed"):
            load_module_state(other, state)
    # The same bytes in another shape or type are another weight.
    for shape, dtype in (((3, 4), torch.float32), ((12,), torch.float32), ((4, 3), torch.int32)):
        zeros, other = nn.Module(), nn.Module()
        zeros.weight = nn.Parameter(torch.zeros(4, 3), requires_grad=False)
        other.weight = nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False)
        mark_frozen(zeros)
        with pytest.raises(CheckpointError, match="weight is frozen"):
            load_module_state(other, module_state(zeros))
    # It need not be marked: its content decides.
    load_module_state(model(), state)


def test_a_state_of_another_module_is_refused():
    state = module_state(marked())
    with pytest.raises(RuntimeError, match=r"differ in 2\.bias"):
        load_module_state(marked(), {name: kept for name, kept in state.items() if name != "2.bias"})
    with pytest.raises(RuntimeError, match=r"differ in 3\.bias"):
        load_module_state(marked(), {**state, "3.bias": torch.zeros(2)})


def test_a_whole_state_is_taken_back_without_a_write_where_it_is_the_same():
    found = marked()
    load_module_state(found, model().state_dict())
    assert hashes(found) == FROZEN
    load_module_state(found, model(seed=1).state_dict())
    # Batch normalization begins alike with every seed.
    assert hashes(found) == ["1.weight", "1.bias"]
    assert torch.equal(found[0].weight, model(seed=1)[0].weight)


def test_a_method_keeps_hashes():
    class Plain(Method):
        def __init__(self, learner):
            self.learner = learner

    first, again = Plain(marked()), Plain(marked())
    with torch.no_grad():
        first.learner[2].weight += 1.0
    state = first.state_dict()
    assert sorted(name for name, kept in state["learner"].items() if isinstance(kept, str)) == sorted(FROZEN)
    again.load_state_dict(state)
    assert torch.equal(again.learner[2].weight, first.learner[2].weight)


@pytest.mark.slow
def test_large_weights_are_noted_and_hashed_without_a_copy():
    large = nn.Linear(4096, 4096, bias=False).requires_grad_(False)
    states = []
    mark_frozen(marked())  # torch loads what it needs
    assert peak_of(lambda: mark_frozen(large)) < 24
    assert peak_of(lambda: states.append(module_state(large))) < 24
    assert isinstance(states[0]["weight"], str)
