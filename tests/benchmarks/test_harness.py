"""The harness of the benchmarks: its statistics, its order, and that it refuses sides that differ."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _load(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


harness = _load("harness")


@pytest.fixture
def quick_collection(monkeypatch):
    """Collecting garbage takes long where many packages are loaded, and is not what is tested."""
    monkeypatch.setattr(harness.gc, "collect", lambda: 0)


seconds = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=2, max_size=30)


@given(seconds)
@settings(max_examples=50, deadline=None)
def test_ratios_are_those_within_a_round(pairs):
    side, bound = np.array(pairs).T
    found = harness.ratio(side.tolist(), bound.tolist(), resamples=50)
    expected = side / bound
    assert found.median == pytest.approx(np.median(expected))
    assert found.p10 == pytest.approx(np.quantile(expected, 0.1))
    assert found.p90 == pytest.approx(np.quantile(expected, 0.9))
    assert expected.min() * 0.999 <= found.low <= found.high <= expected.max() * 1.001


def test_a_machine_that_slows_down_changes_no_ratio():
    speed = np.linspace(1, 5, 11)
    found = harness.ratio((1.2 * speed).tolist(), speed.tolist())
    assert (found.median, found.low, found.high) == pytest.approx((1.2, 1.2, 1.2))


def test_the_interval_covers_a_known_median_as_often_as_it_says():
    draw = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        ratios = draw.lognormal(np.log(1.1), 0.1, size=25)
        found = harness.ratio(ratios.tolist(), [1.0] * 25, resamples=300)
        covered += found.low <= 1.1 <= found.high
    # Of 200 trials at 95%, between 180 and 199 are within four standard deviations.
    assert 178 <= covered <= 200


def _case(events, results, bound="a"):
    def side(name):
        return harness.Side(prepare=lambda: name, run=lambda given: events.append(given) or results[name])

    def check(found):
        assert found["a"] == found["b"], "the sides differ"

    return harness.Case(name="case", sides={"a": side("a"), "b": side("b")}, bound=bound, check=check)


def test_the_sides_take_turns_in_an_order_that_changes(quick_collection):
    events = []
    seconds = harness.alternate(_case(events, {"a": 1, "b": 1}), rounds=20, warmup=1, synchronise=lambda: None, seed=0)
    rounds = [tuple(events[i : i + 2]) for i in range(2, len(events), 2)]
    assert len(rounds) == 20 and {len(times) for times in seconds.values()} == {20}
    assert set(rounds) == {("a", "b"), ("b", "a")}


def test_sides_that_differ_are_never_timed():
    events = []
    with pytest.raises(AssertionError, match="the sides differ"):
        harness.alternate(_case(events, {"a": 1, "b": 2}), rounds=5, warmup=0, synchronise=lambda: None)
    assert events == ["a", "b"]


def test_preparation_is_not_timed(monkeypatch, quick_collection):
    clock = [0.0]
    monkeypatch.setattr(harness.time, "perf_counter", lambda: clock[0])

    def pass_time(seconds):
        clock[0] += seconds

    side = harness.Side(prepare=lambda: pass_time(5.0), run=lambda _: pass_time(0.25))
    case = harness.Case(name="case", sides={"a": side}, bound="a", check=lambda _: None)
    seconds = harness.alternate(case, rounds=3, warmup=1, synchronise=lambda: pass_time(0.5))
    # The wait for what came before is not the side's; the wait for its own work is.
    assert seconds == {"a": [0.75, 0.75, 0.75]}


SCRIPT = """
import sys
sys.path.insert(0, {benchmarks!r})
import harness

def cases(options):
    small = harness.Side(run=lambda _: 0)
    large = harness.Side(run=lambda _: len(bytearray(b"x" * 100_000_000)) * 0)
    return [harness.Case(name="memory", sides={{"small": small, "large": large}}, bound="small",
                         check=lambda found: None, targets={{"large": {target}}})]

sys.exit(harness.main("tried", harness.arguments("a trial"), cases))
"""


@pytest.mark.parametrize(("target", "status"), [pytest.param(1e12, 0, marks=pytest.mark.slow), (1e-12, 1)])
def test_a_run_writes_its_figures_and_fails_where_a_target_is_missed(tmp_path, target, status):
    script = tmp_path / "tried.py"
    script.write_text(SCRIPT.format(benchmarks=str(BENCHMARKS), target=target))
    command = [sys.executable, script, "--rounds", "3", "--output", tmp_path / "results"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert ("MISSED" in done.stdout) == bool(status)
    (path,) = (tmp_path / "results").glob("tried.*.json")
    result = json.loads(path.read_text())
    sides = result["cases"][0]["sides"]
    assert [len(side["seconds"]) for side in sides.values()] == [3, 3]
    assert sides["large"]["met"] is not bool(status)
    # Two copies of 100 MB live at once on one side; the other process must not have inherited its peak.
    extra = sides["large"]["memory"]["resident"] - sides["small"]["memory"]["resident"]
    assert 150e6 < extra < 260e6
    assert result["versions"]["python"] == sys.version.split()[0]
