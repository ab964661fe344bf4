"""How long nets are taught, by the time that there is."""

from types import SimpleNamespace

import pytest

from didact.materials.examples.compression import planning
from didact.materials.examples.compression.candidates import Candidate
from didact.materials.examples.compression.searching import Goal

NETS = [Candidate(f"mlp:{width}", method) for width in range(1, 8) for method in ("distill", "supervised")]
MADE = SimpleNamespace(candidates=NETS, bench=lambda _steps: None)


def goal(minutes):
    return Goal(within=1.0, minutes=minutes, prefer="size", seeds=(0, 1, 2))


@pytest.mark.parametrize(
    ("minutes", "seconds", "wanted"),
    [
        # 14 nets for a ninth of the steps, 5 for a third, 2 with three seeds for all, in half of 300 s.
        (5, 0.01, 150 / 0.01 / (14 / 9 + 5 / 3 + 6)),
        (5, 1e-5, planning.MOST_STEPS),
        (0.1, 10, planning.LEAST_STEPS),
    ],
)
def test_the_steps_fill_half_of_the_time(monkeypatch, minutes, seconds, wanted):
    monkeypatch.setattr(planning, "seconds_a_step", lambda _bench, _net: seconds)
    assert planning.steps_for(MADE, goal(minutes)) == int(wanted)


def test_the_largest_is_timed_first_and_alone_if_the_time_is_short(monkeypatch):
    timed = []
    monkeypatch.setattr(planning, "seconds_a_step", lambda _bench, net: timed.append(net.student) or 0.01)
    planning.steps_for(MADE, goal(5))
    assert timed == [f"mlp:{width}" for width in range(7, 0, -1)]
    timed.clear()
    planning.steps_for(MADE, goal(1e-9))
    assert timed == ["mlp:7"]


def test_estimators_alone_need_no_steps():
    made = SimpleNamespace(candidates=[Candidate("linear", "refit")])
    assert planning.steps_for(made, goal(5)) == planning.LEAST_STEPS
