"""Curricula that are told how examples went: what comes next, against the losses that they were told."""

import numpy as np
import pytest
import torch

from didact.curricula import ByLoss, SelfPaced
from didact.errors import CheckpointError, ConfigError

MAKERS = {"self_paced": SelfPaced, "by_loss": ByLoss}
SIZE = 20
LOSSES = (torch.arange(SIZE) * 7 % SIZE + 1).float() / 10


def one_pass(curriculum):
    """The positions of a pass, each told its loss."""
    drawn = curriculum.sample(SIZE)
    curriculum.update(drawn, LOSSES[drawn])
    return drawn


@pytest.mark.parametrize("kind", MAKERS)
def test_the_first_pass_goes_over_everything(kind):
    assert one_pass(MAKERS[kind](SIZE, seed=3)).sort().values.tolist() == list(range(SIZE))


def test_the_easiest_come_first_and_their_share_grows():
    curriculum = SelfPaced(SIZE, seed=0, warmup=2, start=0.3, growth=1.4)
    easiest = LOSSES.argsort().tolist()
    assert sorted(one_pass(curriculum).tolist()) == sorted(one_pass(curriculum).tolist()) == list(range(SIZE))
    for expected in (6, 8, 12, 16, 20, 20):  # 20 times 0.3, 0.42, 0.588, 0.8232 and 1.15248, of which 1 is the most
        drawn = one_pass(curriculum).tolist()
        assert sorted(drawn) == sorted(easiest[:expected])
        assert drawn != sorted(drawn)


def test_chance_decides_between_equally_easy_examples():
    first = np.zeros(SIZE)
    for seed in range(400):
        curriculum = SelfPaced(SIZE, seed=seed, start=0.25)
        curriculum.sample(SIZE)
        curriculum.update(torch.arange(SIZE), torch.ones(SIZE))
        first[curriculum.sample(SIZE)] += 1
    # Each is among 5 of 20 with a chance of 1/4; the four deviations allowed are those of 400 draws.
    assert first == pytest.approx(np.full(SIZE, 100.0), abs=4 * (400 * 0.25 * 0.75) ** 0.5)


@pytest.mark.parametrize(("power", "uniform"), [(1.0, 0.0), (2.0, 0.2), (0.0, 0.0), (1.0, 1.0)])
def test_hard_examples_come_in_proportion_to_their_loss(power, uniform):
    counts, rounds = np.zeros(SIZE), 500
    curriculum = ByLoss(SIZE, seed=1, power=power, uniform=uniform)
    one_pass(curriculum)
    for _ in range(rounds):
        drawn = one_pass(curriculum)
        assert len(drawn) == SIZE
        counts += drawn.bincount(minlength=SIZE).numpy()
    weights = LOSSES.double().numpy() ** power
    chances = (1 - uniform) * weights / weights.sum() + uniform / SIZE
    assert curriculum.probabilities(LOSSES).numpy() == pytest.approx(chances)
    draws = rounds * SIZE
    assert (np.abs(counts - draws * chances) < 4.5 * np.sqrt(draws * chances * (1 - chances))).all()


def test_without_a_loss_above_zero_all_are_equally_likely():
    assert ByLoss(4, uniform=0.0).probabilities(torch.tensor([0.0, -1.0, 0.0, 0.0])).tolist() == [0.25] * 4


@pytest.mark.parametrize("kind", MAKERS)
def test_the_latest_value_of_an_example_counts(kind):
    curriculum = MAKERS[kind](3)
    curriculum.update(torch.tensor([0, 2, 0]), torch.tensor([5.0, 1.0, 3.0]))
    curriculum.update(torch.tensor([2, 2, 0]), torch.tensor([4.0, 2.0, torch.nan]))
    values = curriculum.state_dict()["values"]
    assert values[[0, 2]].tolist() == [3.0, 2.0]
    assert values[1].isnan()


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("before", [0, 1, 3, 4, 9, 14])
def test_they_are_resumed_to_the_bit(kind, before):
    def go_on(curriculum, steps):
        for _ in range(steps):
            index = curriculum.sample(6)
            curriculum.update(index, LOSSES[index])
            yield index.tolist()

    curriculum, resumed = MAKERS[kind](SIZE, seed=5), MAKERS[kind](SIZE, seed=99)
    list(go_on(curriculum, before))
    list(go_on(resumed, 5))
    resumed.load_state_dict(curriculum.state_dict())
    assert list(go_on(curriculum, 20)) == list(go_on(resumed, 20))


@pytest.mark.parametrize("kind", MAKERS)
def test_saving_changes_nothing(kind):
    one, other = (MAKERS[kind](SIZE, seed=5) for _ in range(2))
    for _ in range(20):
        drawn = [curriculum.sample(6) for curriculum in (one, other)]
        assert torch.equal(*drawn)
        for curriculum, index in zip((one, other), drawn, strict=True):
            curriculum.update(index, LOSSES[index])
        one.state_dict()


@pytest.mark.parametrize("kind", MAKERS)
def test_being_told_nothing_is_refused_after_the_first_pass(kind):
    curriculum = MAKERS[kind](4)
    curriculum.sample(4)
    curriculum.update(torch.arange(4), torch.full((4,), torch.nan))
    with pytest.raises(ConfigError, match="chooses by the losses of examples, but it has none"):
        curriculum.sample(4)


def test_an_example_of_which_nothing_was_said_is_average():
    curriculum = ByLoss(3, uniform=0.0)
    curriculum.sample(3)
    curriculum.update(torch.tensor([0, 2]), torch.tensor([1.0, 5.0]))
    assert curriculum.probabilities(curriculum.known()).numpy() == pytest.approx(np.array([1, 3, 5]) / 9)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_state_of_other_data_is_refused(kind):
    with pytest.raises(CheckpointError, match="over 10 examples, but the data have 11"):
        MAKERS[kind](11).load_state_dict(MAKERS[kind](10).state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelfPaced(0), "size is 0"),
        (lambda: SelfPaced(5, warmup=0), "warmup is 0"),
        (lambda: SelfPaced(5, start=0.0), "start is 0.0"),
        (lambda: SelfPaced(5, growth=0.9), "growth is 0.9"),
        (lambda: ByLoss(5, power=-1.0), "power is -1.0"),
        (lambda: ByLoss(5, uniform=1.1), "uniform is 1.1"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
