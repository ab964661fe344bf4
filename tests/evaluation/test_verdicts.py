"""Verdicts against known effects, and their statistics against scipy and transcriptions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from didact.errors import ConfigError, DataError
from didact.evaluation import ArmResult, compare, estimate, verdicts
from didact.evaluation.intervals import Estimate
from didact.types import Cost

VALUES = st.lists(st.floats(-100, 100).map(lambda v: round(v, 3)), min_size=1, max_size=41)


def interval(low, high):
    return Estimate((low, high), (low + high) / 2, 1.0, low, high)


@pytest.mark.parametrize(
    ("low", "high", "higher", "verdict"),
    [
        (0.2, 3.0, True, "better"),
        (0.2, 3.0, False, "worse"),
        (-3.0, -0.2, True, "worse"),
        (-3.0, -0.2, False, "better"),
        (-0.5, 3.0, True, "undecided"),
        (0.0, 3.0, True, "undecided"),
        (-0.9, 0.9, True, "equivalent"),
        (0.1, 0.9, True, "equivalent"),
        (-1.0, 1.0, False, "equivalent"),
        (-1.1, 0.5, True, "undecided"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(low, high, higher, verdict):
    assert verdicts.decide(interval(low, high), smallest_effect=1.0, higher_is_better=higher) == verdict
    unnamed = verdicts.decide(interval(low, high), smallest_effect=None, higher_is_better=higher)
    assert unnamed == (verdict if verdict != "equivalent" else "undecided" if low <= 0 else "better")


def test_one_seed_decides_nothing():
    assert verdicts.decide(estimate([5.0]), smallest_effect=1.0, higher_is_better=True) == "undecided"
    assert verdicts.effect([1.0], [2.0], higher_is_better=True).p is None


def rates(size, n, *, smallest, runs=1500, seed=0):
    """How often each verdict is given when the true effect is `size`, and the spread of the differences is 1."""
    draws = np.random.default_rng(seed).normal(size, 1.0, (runs, n))
    found = [verdicts.decide(estimate(row), smallest_effect=smallest, higher_is_better=True) for row in draws.tolist()]
    return {verdict: found.count(verdict) / runs for verdict in ("better", "worse", "equivalent", "undecided")}


def near(rate, runs=1500):
    return pytest.approx(rate, abs=3 * math.sqrt(max(rate * (1 - rate), 1e-3) / runs))


def test_no_effect_is_taken_for_one_in_one_of_twenty():
    found = rates(0.0, 8, smallest=0.3)
    assert found["better"] + found["worse"] == near(0.05)
    assert found["better"] == near(0.025)


@pytest.mark.parametrize("sd", [0.8, 1.3, 2.0])
def test_the_smallest_effect_is_found_with_the_power_that_was_planned(sd):
    n = verdicts.seeds_needed(sd, 1.0)
    assert 5 < n < 40
    found = rates(1.0 / sd, n, smallest=1.0 / sd)
    assert found["better"] == near(verdicts.power(n, sd, 1.0))
    assert found["better"] > 0.8 - 0.03
    assert verdicts.power(n - 1, sd, 1.0) < 0.8
    assert found["worse"] + found["equivalent"] < 0.03


def test_an_effect_at_the_edge_is_rarely_called_equivalent():
    assert rates(1.0, 30, smallest=1.0)["equivalent"] == near(0.025)
    assert rates(0.0, 30, smallest=1.0)["equivalent"] > 0.99


def test_seeds_are_at_least_5_and_at_most_40():
    assert verdicts.seeds_needed(0.0, 1.0) == verdicts.seeds_needed(0.1, 1.0) == 5
    assert verdicts.seeds_needed(100.0, 1.0) == 40
    # d = 0.8: 15 pairs, in Cohen's tables and in G*Power.
    assert verdicts.seeds_needed(1.0, 0.8) == 15
    assert verdicts.power(5, 1.0, 0.8) == pytest.approx(0.28, abs=0.02)
    with pytest.raises(ConfigError, match="smallest_effect is 0"):
        verdicts.seeds_needed(1.0, 0.0)


def drawn(generator, n, *, collapse=0.0, size=1.0):
    """Two arms that share what a seed does to both; each of their runs may collapse."""
    shared = generator.normal(0.0, 1.0, n)
    arms = [shared + generator.normal(at, 0.7, n) for at in (size, 0.0)]
    return [(arm - 20.0 * (generator.random(n) < collapse)).tolist() for arm in arms]


@pytest.mark.parametrize(("collapse", "n"), [(0.1, 20), pytest.param(0.1, 40, marks=pytest.mark.slow), (0.2, 40)])
def test_intervals_cover_the_truth_where_runs_collapse(collapse, n, monkeypatch):
    monkeypatch.setattr(verdicts, "_RESAMPLES", 500)
    generator = np.random.default_rng(n)
    mine, theirs = drawn(generator, 400_000, collapse=collapse)
    truth = verdicts.interquartile_mean(mine) - verdicts.interquartile_mean(theirs)
    found = [verdicts.effect(*drawn(generator, n, collapse=collapse), higher_is_better=True) for _ in range(200)]
    robust = [one for one in found if one.robust]
    assert len(robust) > 0.8 * len(found)
    covered = np.mean([one.estimate.low <= truth <= one.estimate.high for one in robust])
    assert covered > 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(robust)) - 0.015
    shares = np.mean([one.collapsed for one in found])
    assert shares == pytest.approx(collapse, abs=0.02)


def test_where_nothing_collapses_it_is_the_paired_t_test():
    generator = np.random.default_rng(3)
    mine, theirs = drawn(generator, 12)
    found, wanted = verdicts.effect(mine, theirs, higher_is_better=True), stats.ttest_rel(mine, theirs)
    assert not found.robust and found.collapsed == (0.0, 0.0)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert found.estimate == estimate([a - b for a, b in zip(mine, theirs, strict=True)])
    odd = sum(verdicts.effect(*drawn(generator, 12), higher_is_better=True).robust for _ in range(200))
    assert odd < 20


def test_runs_that_collapse_are_counted():
    values = [90.0, 91.0, 92.0, 90.5, 91.5, 20.0, 90.2, 35.0]
    assert verdicts.collapsed(values, higher_is_better=True) == 2 / 8
    assert verdicts.collapsed(values, higher_is_better=True, least=60.0) == 1 / 8
    assert verdicts.collapsed([-v for v in values], higher_is_better=False) == 2 / 8
    assert verdicts.collapsed(values, higher_is_better=False) == 0.0
    assert verdicts.collapsed([1.0] * 5, higher_is_better=True) == 0.0


@given(VALUES)
def test_an_interquartile_mean_is_that_of_rliable(values):
    # rliable.metrics.aggregate_iqm is this function of scipy.
    wanted = stats.trim_mean(values, proportiontocut=0.25, axis=None)
    assert verdicts.interquartile_mean(values) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_there_is_no_interquartile_mean_of_nothing():
    with pytest.raises(DataError, match="no values"):
        verdicts.interquartile_mean([])


def test_a_bootstrap_interval_is_that_of_scipy():
    generator = np.random.default_rng(5)
    mine, theirs = (np.array(arm) for arm in drawn(generator, 20, collapse=0.15))

    def difference(a, b, axis):
        return stats.trim_mean(a, 0.25, axis=axis) - stats.trim_mean(b, 0.25, axis=axis)

    wanted = stats.bootstrap(
        (mine, theirs), difference, paired=True, method="percentile", n_resamples=9999, rng=generator
    ).confidence_interval
    found = verdicts.effect(mine.tolist(), theirs.tolist(), higher_is_better=True)
    assert found.robust
    width = wanted.high - wanted.low
    assert (found.estimate.low, found.estimate.high) == pytest.approx((wanted.low, wanted.high), abs=0.05 * width)


def test_a_comparison_is_equivalent_only_where_an_effect_was_named():
    values = [0.900, 0.910, 0.905, 0.903, 0.908]
    near_values = [0.902, 0.909, 0.906, 0.904, 0.907]

    def made(**options):
        arms = {
            name: (lambda seed, row=row: ArmResult({"accuracy": row[seed]}, Cost(steps=1)))
            for name, row in (("alone", values), ("twin", near_values))
        }
        return compare(arms, range(5), reference="alone", metric="accuracy", **options)

    assert made().finding("twin") == "undecided"
    assert made(smallest_effect=0.01).finding("twin") == "equivalent"
    assert made(smallest_effect=0.0005).finding("twin") == "undecided"
    sentence = made(smallest_effect=0.01).sentence()
    assert "twin is equivalent to alone (95% interval" in sentence
    again = type(made()).from_json(made(smallest_effect=0.01).to_json())
    assert again.finding("twin") == "equivalent"
    for bad, said in ((0.0, "smallest_effect is 0"), (1.0, "for one point, give 0.01")):
        with pytest.raises(ConfigError, match=said):
            made(smallest_effect=bad)
