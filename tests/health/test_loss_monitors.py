"""NonFinite and LossSpike on planted pathologies."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import health
from didact.errors import ConfigError
from didact.health.loss_spike import LossSpike
from didact.health.non_finite import NonFinite
from didact.types import Output, Window


def window(total, *, step=0, finite=True, probe=None, grad_norm=(), **terms):
    losses = {name: torch.tensor(values, dtype=torch.float64) for name, values in terms.items()}
    losses["total"] = torch.as_tensor(total, dtype=torch.float64)
    norm = torch.tensor(grad_norm, dtype=torch.float64)
    return Window(step=step, losses=losses, grad_norm=norm, finite=finite, probe=probe)


def slow_excess(trailing, losses, persist):
    """Lower medians by sorting, and runs by enumeration."""

    def lower(values):
        return sorted(values)[(len(values) - 1) // 2]

    centre = lower(trailing)
    spread = max(1.4826 * lower([abs(v - centre) for v in trailing]), 1e-3 * abs(centre))
    spread = max(spread or 1e-3 * float(np.mean(np.abs(trailing))), 2.0**-126)
    z = [(loss - centre) / spread for loss in losses]
    return max([0.0] + [min(z[i : i + persist]) for i in range(len(z) - persist + 1)])


def test_finite_losses_are_fine():
    verdict = NonFinite().observe(window([1.0, 0.5]))
    assert (verdict.level, verdict.figure) == ("ok", 0.0)


def test_the_term_that_is_not_finite_is_named_with_its_value_and_step():
    seen = window([1.0, math.nan], step=71, finite=False, hard=[1.0, 2.0], soft=[1.0, math.inf])
    verdict = NonFinite().observe(seen)
    assert verdict.level == "stop"
    assert verdict.figure == 1.0
    assert "'soft' is inf" in verdict.reason and "71" in verdict.reason and "hard" not in verdict.reason


def test_a_term_with_nothing_to_count_is_not_taken_for_the_culprit():
    assert NonFinite().observe(window([1.0, 2.0], hard=[1.0, math.nan])).level == "ok"
    seen = window([1.0, 2.0, math.inf], finite=False, hard=[1.0, math.nan, 1.0], soft=[1.0, 1.0, math.inf])
    verdict = NonFinite().observe(seen)
    assert "soft" in verdict.reason and "hard" not in verdict.reason
    verdict = NonFinite().observe(window([1.0, 2.0], finite=False, hard=[1.0, math.nan]))
    assert "gradient" in verdict.reason


def test_a_gradient_that_overflows_is_told_from_a_loss():
    verdict = NonFinite(action="roll_back").observe(window([1.0], step=3, finite=False, hard=[1.0]))
    assert verdict.level == "roll_back"
    assert "gradient" in verdict.reason


def test_a_total_that_overflows_is_told_from_its_terms():
    verdict = NonFinite().observe(window([math.inf], step=3, hard=[1.0]))
    assert verdict.level == "stop"
    assert "total loss is inf" in verdict.reason


@pytest.mark.parametrize("monitor", [NonFinite, LossSpike])
def test_an_action_that_is_no_action_is_refused(monitor):
    with pytest.raises(ConfigError, match="action"):
        monitor(action="ok")
    with pytest.raises(ConfigError, match="roll_back"):
        monitor(action="rollback")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"threshold": 0}, "threshold"),
        ({"persist": 0}, "persist"),
        ({"warmup": 1}, "warmup"),
        ({"history": 9}, "history"),
    ],
)
def test_thresholds_that_cannot_work_are_refused(options, field):
    with pytest.raises(ConfigError, match=field):
        LossSpike(**options)


def noisy(count, seed=0, level=1.0):
    return level + 0.1 * np.random.default_rng(seed).standard_normal(count)


def test_a_persistent_spike_is_found_and_its_height_is_right():
    monitor = LossSpike(persist=3, warmup=50)
    trailing = noisy(150)
    for part in np.split(trailing, 3):
        assert monitor.observe(window(part)).level == "ok"
    spiked = noisy(50, seed=1)
    spiked[20:24] += 5.0
    verdict = monitor.observe(window(spiked))
    assert verdict.level == "warn"
    assert verdict.figure == pytest.approx(slow_excess(trailing, spiked, 3), rel=1e-12)
    assert verdict.figure > 30


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**40])
@pytest.mark.parametrize("zeros", [0.0, 0.7])
def test_how_high_a_spike_is_does_not_depend_on_the_scale_of_the_loss(scale, zeros):
    """Powers of two scale exactly; with most losses at zero, median and spread are both zero."""
    random = np.random.default_rng(3)
    trailing = noisy(100) * (random.random(100) >= zeros)
    spiked = noisy(50, seed=1)
    spiked[20:24] += 5.0
    found = []
    for factor in (1.0, scale):
        monitor = LossSpike()
        monitor.observe(window(factor * trailing))
        found.append(monitor.observe(window(factor * spiked)))
    assert found[0].level == found[1].level == "warn"
    assert 30 < found[0].figure == found[1].figure < math.inf


def test_losses_that_were_all_zero_stay_comparable():
    monitor = LossSpike()
    monitor.observe(window(np.zeros(100)))
    assert monitor.observe(window(np.zeros(10))).figure == 0.0
    verdict = monitor.observe(window([0.0, 1e-30, 1e-30, 1e-30]))
    assert (verdict.level, math.isfinite(verdict.figure)) == ("warn", True)


def test_a_spike_of_fewer_steps_than_persist_passes():
    monitor = LossSpike(persist=3)
    monitor.observe(window(noisy(100)))
    spiked = noisy(50, seed=1)
    spiked[[10, 11, 30, 40]] += 50.0
    assert monitor.observe(window(spiked)).level == "ok"


def test_a_spike_goes_on_from_one_window_to_the_next():
    monitor = LossSpike(persist=3)
    monitor.observe(window(noisy(100)))
    assert monitor.observe(window([1.0, 9.0, 9.0])).level == "ok"
    assert monitor.observe(window([9.0, 1.0])).level == "warn"


def test_a_falling_loss_never_alarms_and_a_lasting_level_becomes_normal():
    monitor = LossSpike()
    for part in np.split(np.geomspace(3.0, 0.01, 500) * (1 + 0.2 * noisy(500, level=0)), 10):
        assert monitor.observe(window(part)).level == "ok"
    levels = [monitor.observe(window(part)).level for part in np.split(noisy(400, level=2.0), 8)]
    assert levels[0] == "warn" and levels[-1] == "ok"


def test_a_loss_that_stood_still_may_tremble():
    monitor = LossSpike()
    monitor.observe(window([0.5] * 60))
    assert monitor.observe(window([0.5004] * 5)).level == "ok"
    assert monitor.observe(window([0.6] * 5)).level == "warn"


def test_it_waits_until_enough_losses_are_known():
    monitor = LossSpike(warmup=50)
    assert monitor.observe(window([1.0] * 49)).level == "ok"
    verdict = monitor.observe(window([100.0] * 10))
    assert verdict.level == "ok" and "49 of the 50" in verdict.reason


def test_losses_that_are_not_finite_do_not_become_history():
    monitor = LossSpike(warmup=2)
    monitor.observe(window([1.0, math.nan, math.inf, 2.0]))
    assert monitor.state_dict()["trailing"] == [1.0, 2.0]


@settings(max_examples=40, deadline=None)
@given(
    trailing=st.lists(st.floats(-1e3, 1e3), min_size=50, max_size=120),
    losses=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
    persist=st.integers(1, 5),
)
def test_the_figure_agrees_with_a_slow_transcription(trailing, losses, persist):
    monitor = LossSpike(persist=persist)
    monitor.observe(window(trailing))
    figure = monitor.observe(window(losses)).figure
    assert figure == pytest.approx(slow_excess(trailing, losses, persist), rel=1e-9, abs=1e-9)


def test_a_resumed_monitor_says_what_the_first_would_have_said():
    first, second = LossSpike(), LossSpike()
    for part in [noisy(120), np.array([1.0, 9.0, 9.0])]:
        first.observe(window(part))
    second.load_state_dict(first.state_dict())
    for part in [np.array([9.0, 1.0]), noisy(50, seed=3)]:
        assert first.observe(window(part)) == second.observe(window(part))


def test_the_default_monitors_watch_a_healthy_run_in_silence():
    torch.manual_seed(0)
    output = Output(logits=torch.randn(128, 10), hidden=torch.randn(128, 64))
    monitors = health.monitors()
    assert len({monitor.name for monitor in monitors}) == 10
    for part in np.split(noisy(200), 4):
        assert {monitor.observe(window(part, probe=lambda: output)).level for monitor in monitors} == {"ok"}


def test_another_stage_of_a_method_is_no_spike():
    monitor = LossSpike(warmup=20)
    for _ in range(3):
        assert monitor.observe(window([0.1, 0.11] * 10, hint=[0.1, 0.11] * 10)).level == "ok"
    both = window([0.1] * 10 + [5.0] * 10, hint=[0.1] * 10 + [math.nan] * 10, label=[math.nan] * 10 + [5.0] * 10)
    assert monitor.observe(both).level == "ok"
    later = [5.0, 5.1] * 10
    for _ in range(3):
        assert monitor.observe(window(later, label=later)).level == "ok"
    assert monitor.observe(window([50.0] * 20, label=[50.0] * 20)).level == "warn"
