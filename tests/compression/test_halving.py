"""Who goes on to the next round."""

import math

import pytest

from didact.materials.examples.compression.halving import Score, keep, ranked, shares, survivors


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(1, [1]), (2, [1]), (3, [1 / 3, 1]), (6, [1 / 3, 1]), (7, [1 / 9, 1 / 3, 1]), (27, [1 / 9, 1 / 3, 1])],
)
def test_the_last_round_has_the_full_budget(count, wanted):
    assert shares(count) == pytest.approx(wanted)


def test_a_third_goes_on_and_two_are_left():
    assert [keep(27, number) for number in range(3)] == [27, 9, 3]
    assert [keep(7, number) for number in range(3)] == [7, 3, 2]
    assert [keep(1, number) for number in range(2)] == [1, 1]


SCORES = {
    "large": Score(0.95, 9.0),
    "middle": Score(0.91, 3.0),
    "small": Score(0.895, 2.0),
    "tiny": Score(0.80, 1.0),
    "broken": Score(math.nan, math.inf),
}


def test_within_the_bound_the_cheapest_is_first_and_then_the_nearest():
    assert ranked(SCORES, 0.90) == ["middle", "large", "small", "tiny"]
    assert ranked(SCORES, 0.89) == ["small", "middle", "large", "tiny"]
    assert ranked(SCORES, 0.99) == ["large", "middle", "small", "tiny"]


def test_of_equally_cheap_ones_the_better_is_first():
    assert ranked({"a": Score(0.92, 1.0), "b": Score(0.93, 1.0)}, 0.9) == ["b", "a"]


def test_who_may_still_get_within_the_bound_goes_on_too():
    assert survivors(SCORES, 0.90, 0.0, 2) == ["middle", "large"]
    # With a slack of a point, the small one is the first of the second order.
    assert survivors(SCORES, 0.90, 0.01, 2) == ["middle", "small"]
    assert survivors(SCORES, 0.90, 0.01, 9) == ["middle", "small", "large", "tiny"]
