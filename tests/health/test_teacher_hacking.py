"""The monitor of teacher hacking: made-up curves whose shape is known, and fits against NumPy."""

import math

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.health.teacher_hacking import TeacherHacking, power_law
from didact.types import Window


def window(step, **terms):
    losses = {name: torch.tensor([value], dtype=torch.float64) for name, value in terms.items()}
    return Window(step=step, losses=losses, grad_norm=torch.ones(1), finite=True, probe=None)


def verdicts(monitor, curves, steps=range(10, 310, 10)):
    """What a monitor says of curves over the steps, window by window."""
    return [monitor.observe(window(step, **{name: curve(step) for name, curve in curves.items()})) for step in steps]


def raised(found):
    return [place for place, verdict in enumerate(found) if verdict.level != "ok"]


@pytest.mark.parametrize("seed", range(3))
def test_a_power_law_is_fitted_by_least_squares(seed):
    generator = np.random.default_rng(seed)
    steps = np.arange(1, 30) * 7.0
    values = 3.0 * steps**-0.6 * np.exp(generator.normal(size=29) * 0.1)
    exponent, scale = np.polyfit(np.log(steps), np.log(values), 1)
    found = power_law(steps.tolist(), values.tolist())
    left = np.log(values) - exponent * np.log(steps) - scale
    assert found == pytest.approx((exponent, scale, np.sqrt(np.mean(left**2))), rel=1e-9)
    assert power_law([1, 10, 100], [5, 0.5, 0.05]) == pytest.approx((-1.0, math.log(5), 0.0), abs=1e-9)


PROXY = {"proxy": lambda step: 2.0 * step**-0.5}


def test_it_objects_when_the_proxy_falls_and_the_truth_moves_away():
    u_shape = {"golden": lambda step: 1.5 + 0.5 * abs(math.log(step / 100))}
    found = verdicts(TeacherHacking(), {**PROXY, **u_shape})
    # The mean of three windows is lowest where the middle one is step 100; 2% above it is where the last is step 120.
    means = [sum(u_shape["golden"](10.0 * i + 10 * k) for k in (0, 1, 2)) / 3 for i in range(1, 29)]
    place = next(i for i, mean in enumerate(means) if i > 8 and mean > 1.02 * min(means)) + 2
    assert raised(found) == [place]
    verdict = found[place]
    assert verdict.level == "warn" and verdict.monitor == "teacher_hacking"
    assert verdict.figure == pytest.approx(means[place - 2] / min(means) - 1)
    assert "mistakes" in verdict.reason


@pytest.mark.parametrize(
    "curves",
    [
        {**PROXY, "golden": lambda step: 1.5 + step**-0.5},
        {**PROXY, "golden": lambda step: 1.5 + 0.01 * math.sin(step)},
        {"proxy": lambda step: 2.0 * step**0.2, "golden": lambda step: 1.5 + 0.01 * step},
        PROXY,
        {"golden": lambda step: 0.01 * step},
        {"proxy": lambda _: math.nan, "golden": lambda step: 0.01 * step},
    ],
)
def test_it_is_silent_where_both_fall_or_both_rise_or_a_figure_is_not_there(curves):
    assert raised(verdicts(TeacherHacking(), curves)) == []


@pytest.mark.parametrize(("sign", "word"), [(-1, "faster"), (1, "slower")])
def test_it_objects_when_the_proxy_leaves_its_power_law(sign, word):
    def bent(step):
        return 2.0 * step**-0.5 * (1.0 if step <= 200 else (step / 200) ** (sign * 4.0))

    found = verdicts(TeacherHacking(), {"proxy": bent})
    assert len(raised(found)) == 1
    verdict = found[raised(found)[0]]
    assert word in verdict.reason and "-0.50" in verdict.reason
    last = 10 * (raised(found)[0] + 1)
    wanted = sum(sign * 4.0 * math.log(max(last - 10 * k, 200) / 200) for k in range(3)) / 3
    assert verdict.figure == pytest.approx(wanted) and abs(wanted) > 0.7


def test_it_complains_once_and_again_after_it_was_well():
    def golden(step):
        return 1.5 if step < 60 or 100 < step < 140 else 1.8

    found = verdicts(TeacherHacking(patience=1, deviation=9.0), {**PROXY, "golden": golden})
    assert raised(found) == [5, 13]
    assert found[6].level == "ok" and found[6].figure == pytest.approx(0.2)
    assert raised(verdicts(TeacherHacking(patience=1, rise=0.3), {**PROXY, "golden": golden})) == []
    stop = verdicts(TeacherHacking(action="stop"), {**PROXY, "golden": golden})
    assert {verdict.level for verdict in stop} == {"ok", "stop"}


def test_what_it_has_seen_survives_a_stop():
    curves = {**PROXY, "golden": lambda step: 1.5 + 0.5 * abs(math.log(step / 100))}
    whole = verdicts(TeacherHacking(), curves)
    first, again = TeacherHacking(), TeacherHacking()
    parts = verdicts(first, curves, range(10, 120, 10))
    again.load_state_dict(first.state_dict())
    parts += verdicts(again, curves, range(120, 310, 10))
    assert parts == whole
    empty = TeacherHacking()
    empty.load_state_dict(TeacherHacking().state_dict())
    assert empty.seen == []


@pytest.mark.slow
def test_a_long_run_is_remembered_in_bounded_space():
    monitor = TeacherHacking()
    verdicts(monitor, {**PROXY, "golden": lambda step: 1.5 + step**-0.5}, range(1, 3000))
    assert len(monitor.seen) <= 400
    assert monitor.seen[0][0] == 1.0 and monitor.seen[-1][0] == 2999.0


@pytest.mark.parametrize("option", ["rise", "deviation", "patience"])
def test_options_that_cannot_work_are_refused(option):
    with pytest.raises(ConfigError, match=option):
        TeacherHacking(**{option: 0})
