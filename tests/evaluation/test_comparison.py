"""Intervals, findings, JSON and words of a comparison."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from didact.errors import ConfigError, DataError, RunError
from didact.evaluation import ArmResult, Comparison, compare, estimate, sections
from didact.types import Cost


def result(value, *, metric="accuracy", cost=None, **more):
    return ArmResult({metric: value, **more}, cost or Cost(labels=100, steps=10, seconds=1.5))


def made(arms, *, reference="alone", metric="accuracy", **options):
    seeds = range(len(next(iter(arms.values()))))
    runs = {arm: (lambda seed, v=values: result(v[seed], metric=metric)) for arm, values in arms.items()}
    return compare(runs, list(seeds), reference=reference, metric=metric, **options)


ALONE, TAUGHT = [0.80, 0.82, 0.79, 0.83, 0.81], [0.86, 0.87, 0.86, 0.88, 0.88]


def test_an_interval_by_hand():
    found = estimate([1.0, 2.0, 3.0])
    # t(0.975, 2) = 4.302653 from any table; sd 1; half = 4.302653 / sqrt(3).
    assert (found.mean, found.sd) == (2.0, 1.0)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-100, 100).map(lambda v: round(v, 3)), min_size=2, max_size=12).filter(
        lambda v: np.std(v) > 1e-3
    )
)
def test_an_interval_is_that_of_scipy(values):
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = estimate(values)
    assert (found.low, found.high) == pytest.approx(tuple(interval), rel=1e-9, abs=1e-9)


def test_one_value_has_no_interval_and_none_is_refused():
    found = estimate([3.0])
    assert (found.mean, found.sd, found.low, found.high, found.half) == (3.0, None, None, None, None)
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(DataError):
            estimate(bad)


def test_intervals_cover_the_truth_as_often_as_they_say():
    draws = np.random.default_rng(0).normal(2.0, 3.0, (2000, 5))
    found = [estimate(row.tolist()) for row in draws]
    covered = np.mean([one.low <= 2.0 <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


def test_differences_are_paired_by_seed():
    comparison = made({"alone": ALONE, "taught": TAUGHT})
    found = comparison.difference("taught")
    interval = stats.ttest_rel(TAUGHT, ALONE).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(interval), rel=1e-9)
    assert found.mean == pytest.approx(0.06)
    unpaired = stats.ttest_ind(TAUGHT, ALONE).confidence_interval(0.95)
    assert found.high - found.low < unpaired.high - unpaired.low


def test_findings_follow_the_interval_and_the_direction():
    arms = {"alone": ALONE, "taught": TAUGHT, "worse": [v - 0.1 for v in ALONE[::-1]], "same": ALONE[1:] + ALONE[:1]}
    comparison = made(arms)
    findings = {arm: comparison.finding(arm) for arm in comparison.arms}
    expected = {"alone": "reference", "taught": "better", "worse": "worse", "same": "undecided"}
    assert findings == expected
    less_is_more = made(arms, metric="nll")
    assert not less_is_more.higher_is_better
    assert (less_is_more.finding("taught"), less_is_more.finding("worse")) == ("worse", "better")
    assert made(arms, metric="nll", higher_is_better=True).finding("taught") == "better"


def test_differences_without_spread():
    comparison = made({"alone": [0.5, 0.75], "twin": [0.5, 0.75], "up": [0.75, 1.0]})
    assert comparison.finding("twin") == "undecided"
    assert comparison.finding("up") == "better"


def test_the_false_alarm_rate_is_one_in_twenty():
    generator = np.random.default_rng(1)
    findings = [
        made({"alone": generator.normal(size=5).tolist(), "other": generator.normal(size=5).tolist()}).finding("other")
        for _ in range(600)
    ]
    wrong = np.mean([finding != "undecided" for finding in findings])
    assert wrong == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 600))


def test_one_seed_says_so():
    comparison = made({"alone": [0.8], "taught": [0.9]})
    assert comparison.finding("taught") == "one seed"
    assert comparison.difference("taught").low is None
    assert "no interval" in comparison.sentence() and "90.0% accuracy" in comparison.sentence()
    assert comparison.table()[1]["difference to alone"] == "+10.0"


def test_arms_run_seed_by_seed_and_are_told_as_they_come():
    told = []
    runs = {arm: (lambda seed, arm=arm: result(seed / 10, note=len(arm))) for arm in ("alone", "taught")}
    compare(runs, [3, 1], reference="alone", metric="accuracy", on_result=lambda *one: told.append(one[:2]))
    assert told == [("alone", 3), ("taught", 3), ("alone", 1), ("taught", 1)]


def test_costs_are_averaged_and_memory_is_the_largest():
    costs = [
        Cost(labels=100, steps=10, seconds=1.0, peak_memory=5),
        Cost(labels=100, steps=20, seconds=2.0, peak_memory=9),
    ]
    comparison = compare(
        {"alone": lambda s: result(0.5 + s / 10, cost=costs[s])}, [0, 1], reference="alone", metric="accuracy"
    )
    cost = comparison.cost("alone")
    assert (cost["labels"], cost["steps"], cost["seconds"], cost["peak_memory"]) == (100, 15, 1.5, 9)
    assert comparison.used_axes() == ["labels", "steps", "seconds", "peak_memory"]


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6),
    extra=st.sampled_from([1.5, math.inf, -math.inf]),
    higher=st.booleans(),
)
def test_json_gives_back_an_equal_comparison(values, extra, higher):
    arms = {
        name: tuple(
            ArmResult(
                {"accuracy": pair[i], "nll": extra}, Cost(steps=3, seconds=0.1), {"classes": ["<é>"], "bins": [0.1]}
            )
            for pair in values
        )
        for i, name in enumerate(("alone", "taught"))
    }
    comparison = Comparison(
        metric="accuracy", higher_is_better=higher, reference="alone", seeds=tuple(range(len(values))), results=arms
    )
    text = comparison.to_json()
    again = Comparison.from_json(text)
    assert again == comparison
    assert again.to_json() == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_json_carries_the_summary_for_other_programs():
    comparison = made({"alone": ALONE, "taught": TAUGHT})
    summary = json.loads(comparison.to_json())["summary"]["taught"]
    assert summary["finding"] == "better"
    assert summary["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(TAUGHT))
    assert summary["difference"]["low"] == comparison.difference("taught").low
    assert summary["cost"]["labels"] == 100


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": "other"}', '{"format": "didact comparison 1"}'])
def test_json_that_is_no_comparison_is_refused(text):
    with pytest.raises(DataError, match="comparison"):
        Comparison.from_json(text)


def test_metrics_that_an_arm_lacks_are_a_dash():
    comparison = compare(
        {"alone": lambda s: result(0.5 + s / 10, nll=1.0 + s), "cheap": lambda s: result(0.4 + s / 9)},
        [0, 1],
        reference="alone",
        metric="accuracy",
    )
    assert comparison.metrics == ("accuracy", "nll")
    assert comparison.summary("cheap", "nll") is None
    assert comparison.summary("alone", "nll").mean == 1.5


def test_the_table_and_the_sentence_read_well():
    comparison = made({"alone": ALONE, "taught": TAUGHT, "random_teacher": ALONE[1:] + ALONE[:1]})
    rows = comparison.table()
    assert [list(row) for row in rows] == [list(rows[0])] * 3
    assert rows[1]["accuracy (%)"] == "87.0 ± 1.2"
    assert rows[1]["difference to alone"] == "+6.0 (+4.8 to +7.2)"
    assert rows[1]["verdict"] == "better" and rows[0]["difference to alone"] == ""
    assert rows[2]["verdict"] == "undecided"
    assert rows[0]["labels"] == "100" and rows[0]["seconds"] == "1.5 s"
    sentence = comparison.sentence()
    expected = "Over 5 seeds, taught beats alone by 6.0 points (95% interval 4.8 to 7.2): 87.0% accuracy against 81.0%."
    assert sentence.startswith(expected)
    assert "random_teacher against alone is undecided (95% interval \u22123.6 to +3.6)." in sentence


def test_a_metric_of_which_less_is_better_reads_well():
    sentence = made({"alone": [0.5, 0.6, 0.7], "taught": [0.3, 0.41, 0.5]}, metric="nll").sentence()
    assert "taught beats alone by 0.197 nats (95% interval 0.182 to 0.211)" in sentence
    assert "0.403 nats negative log-likelihood against 0.6 nats" in sentence.replace("0.600", "0.6")


def test_a_metric_without_a_unit_lends_its_name():
    sentence = made({"alone": [5.0, 6.0, 7.0], "taught": [3.0, 4.1, 5.0]}, metric="rmse").sentence()
    assert "taught beats alone by 1.97 RMSE (95% interval" in sentence


def test_what_cannot_be_compared_is_refused_in_a_sentence():
    run = {"alone": lambda seed: result(0.5)}
    with pytest.raises(ConfigError, match="seeds is empty"):
        compare(run, [], reference="alone", metric="accuracy")
    with pytest.raises(ConfigError, match="twice"):
        compare(run, [1, 1], reference="alone", metric="accuracy")
    with pytest.raises(ConfigError, match="Did you mean alone"):
        compare(run, [1], reference="alon", metric="accuracy")
    with pytest.raises(ConfigError, match="'r2', but the arm 'alone' reports accuracy"):
        compare(run, [1], reference="alone", metric="r2")
    with pytest.raises(RunError, match=r"nothing to compare\. alone: Its accuracy is nan"):
        compare({"alone": lambda seed: result(math.nan)}, [4], reference="alone", metric="accuracy")
    with pytest.raises(DataError, match="'alone' with seed 4 cannot be compared"):
        broken = {"alone": (result(math.inf),)}
        Comparison(metric="accuracy", higher_is_better=True, reference="alone", seeds=(4,), results=broken)
    with pytest.raises(DataError, match="1 results for 2 seeds"):
        Comparison(
            metric="accuracy",
            higher_is_better=True,
            reference="alone",
            seeds=(0, 1),
            results={"alone": (result(0.5),)},
        )


def test_an_arm_that_breaks_down_is_a_row_and_the_others_are_compared():
    values = {"alone": [0.5, 0.6, 0.7], "taught": [0.6, math.nan, 0.8], "other": [0.6, 0.7, 0.8]}
    comparison = made(values)
    without = made({arm: values[arm] for arm in ("alone", "other")})
    assert comparison.arms == ("alone", "other")
    assert comparison.difference("other") == without.difference("other")
    assert comparison.table()[:2] == without.table()
    assert comparison.table()[2] == {**dict.fromkeys(without.table()[0], ""), "arm": "taught", "verdict": "failed"}
    failure = "taught failed with seed 1: Its accuracy is nan, which can't be averaged."
    assert comparison.sentence() == f"{without.sentence()} {failure}"
    again = Comparison.from_json(comparison.to_json())
    assert again.failures == {"taught": failure}
    assert [one.metrics["accuracy"] for one in again.results["taught"]][::2] == [0.6, 0.8]
    assert [row["finding"] for row in sections.arms_table(again)][2] == "failed"


def test_the_first_arm_that_did_not_fail_takes_the_place_of_the_reference():
    comparison = made({"alone": [math.inf, 0.6], "taught": [0.6, 0.8], "other": [0.6, 0.7]})
    assert comparison.reference == "taught"
    assert comparison.difference("other").mean == pytest.approx(-0.05)
