import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.curricula import LabelledMix, Uniform, Weighted
from didact.errors import CheckpointError, ConfigError


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 1000))
def test_every_example_comes_exactly_once_a_pass(size, count, seed):
    curriculum = Uniform(size, seed)
    for _ in range(3):
        drawn = [curriculum.sample(count) for _ in range(-(-size // count))]
        assert all(len(part) == count for part in drawn[:-1])
        assert torch.cat(drawn).sort().values.tolist() == list(range(size))


def test_orders_depend_on_the_seed_and_change_with_each_pass():
    one, same, other = Uniform(50, 1), Uniform(50, 1), Uniform(50, 2)
    first = one.sample(50)
    assert torch.equal(first, same.sample(50))
    assert not torch.equal(first, other.sample(50))
    assert not torch.equal(first, one.sample(50))


def test_a_position_is_as_likely_at_the_start_as_any_other():
    first = torch.stack([Uniform(4, seed).sample(1)[0] for seed in range(2000)])
    chi_square = ((first.bincount(minlength=4) - 500.0) ** 2 / 500).sum().item()
    assert chi_square < 16.3  # the 99.9% point of 3 degrees of freedom


def make(kind, seed):
    if kind == "uniform":
        return Uniform(23, seed)
    if kind == "weighted":
        return Weighted(torch.arange(23.0), seed)
    return LabelledMix(torch.arange(23) < 5, 0.4, seed)


@pytest.mark.parametrize("kind", ["uniform", "mix", "weighted"])
@pytest.mark.parametrize("before", [0, 1, 3, 4, 11])
def test_a_resumed_curriculum_goes_on_as_the_uninterrupted_one(kind, before):
    curriculum = make(kind, 3)
    for _ in range(before):
        curriculum.sample(6)
    state = curriculum.state_dict()
    expected = [curriculum.sample(6) for _ in range(12)]
    resumed = make(kind, 99)
    resumed.sample(4)
    resumed.load_state_dict(state)
    assert all(torch.equal(a, resumed.sample(6)) for a in expected)


def test_a_state_of_other_data_is_refused():
    with pytest.raises(CheckpointError, match="over 10 examples, but the data have 11"):
        Uniform(11).load_state_dict(Uniform(10).state_dict())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 20), st.floats(0.05, 0.95), st.integers(2, 24))
def test_a_mix_has_the_share_of_labelled_examples_in_every_batch(labelled, unlabelled, fraction, count):
    mask = torch.zeros(labelled + unlabelled, dtype=torch.bool)
    mask[torch.randperm(len(mask), generator=torch.Generator().manual_seed(0))[:labelled]] = True
    curriculum = LabelledMix(mask, fraction, seed=1)
    wanted = min(max(round(fraction * count), 1), count - 1)
    for _ in range(4):
        index = curriculum.sample(count)
        assert len(index) == count
        assert mask[index].sum() == wanted
        assert mask[index[:wanted]].all()


def test_a_mix_goes_through_both_pools_evenly():
    mask = torch.arange(30) < 6
    curriculum = LabelledMix(mask, 0.5, seed=0)
    drawn = torch.cat([curriculum.sample(8) for _ in range(12)])  # 48 labelled, 48 unlabelled
    assert drawn.bincount(minlength=30).tolist() == [8] * 6 + [2] * 24


def test_a_batch_of_one_is_labelled():
    assert LabelledMix(torch.tensor([False, True, False]), 0.1).sample(1).tolist() == [1]


@pytest.mark.parametrize(
    ("mask", "fraction", "message"),
    [
        ([True, True], 0.5, "none of the examples is unlabelled. Use Uniform"),
        ([False, False], 0.5, "none of the examples is labelled"),
        ([True, False], 1.0, "fraction is 1.0, but must be above 0 and below 1"),
        ([True, False], 0.0, "fraction is 0.0"),
    ],
)
def test_impossible_mixes_are_refused(mask, fraction, message):
    with pytest.raises(ConfigError, match=message):
        LabelledMix(torch.tensor(mask), fraction)


def test_no_examples_are_refused():
    with pytest.raises(ConfigError, match="size is 0"):
        Uniform(0)


@pytest.mark.parametrize("kind", ["uniform", "mix", "weighted"])
def test_the_global_generator_is_left_alone(kind):
    before = torch.get_rng_state()
    curriculum = make(kind, 0)
    for _ in range(9):
        curriculum.sample(5)
    curriculum.update(torch.tensor([0]), torch.tensor([1.0]))
    assert torch.equal(before, torch.get_rng_state())


def test_examples_come_as_often_as_their_weights_say():
    weights = torch.tensor([0.0, 1.0, 1.0, 6.0, 2.0])
    curriculum = Weighted(weights, seed=5)
    passes = torch.stack([curriculum.sample(5).bincount(minlength=5) for _ in range(600)])
    share = weights / 2
    assert bool((passes >= share.floor()).all() and (passes <= share.ceil()).all())
    # The deviation of a mean of 600 draws of 0 or 1 is at most 0.0204.
    assert (passes.double().mean(0) - share).abs().max() < 0.08
    assert curriculum.sample(3).tolist() != curriculum.sample(3).tolist()


def test_equal_weights_give_every_example_once_a_pass():
    curriculum = Weighted(torch.full((37,), 0.3), seed=1)
    for _ in range(50):
        assert curriculum.sample(37).sort().values.tolist() == list(range(37))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ConfigError, match="weights must be finite"):
        Weighted(torch.tensor(weights))
