import math

import pytest
import torch

from didact import health
from didact.errors import ConfigError
from didact.health.dead_groups import DeadGroups
from didact.health.length_drift import LengthDrift
from didact.health.policy_entropy import PolicyEntropy
from didact.health.reference_drift import ReferenceDrift
from didact.health.repetition import Repetition
from didact.health.reward_gap import RewardGap
from didact.health.teacher_overlap import TeacherOverlap
from didact.health.terms import TermMonitor
from didact.health.unique_correct import UniqueCorrect
from didact.types import Window


def window(**terms):
    losses = {name: torch.tensor(values, dtype=torch.float64) for name, values in terms.items()}
    return Window(step=1, losses=losses, grad_norm=torch.ones(1), finite=True, probe=None)


@pytest.mark.parametrize(
    ("kind", "term", "well", "bad", "figure"),
    [
        (PolicyEntropy, "entropy", [2.0, 1.0], [0.1, 0.14], 0.08),
        (LengthDrift, "length", [10.0, 20.0], [40.0, 50.0], 3.0),
        (Repetition, "repetition", [0.1, 0.4], [0.6, 0.6], 0.6),
        (ReferenceDrift, "kl", [0.1, 0.2], [0.7, 0.9], 0.8),
        (DeadGroups, "dead", [0.5, 0.8], [0.95, 0.97], 0.96),
        (UniqueCorrect, "unique", [0.5, 0.8], [0.0, 0.02], 0.01),
    ],
)
def test_each_objects_once_when_its_figure_is_too_far_gone(kind, term, well, bad, figure):
    monitor = kind()
    assert monitor.observe(window(**{term: well})).level == "ok"
    found = monitor.observe(window(**{term: bad}))
    assert found.level == "warn" and found.figure == pytest.approx(figure) and found.monitor == kind.name
    assert monitor.observe(window(**{term: bad})).level == "ok"
    assert monitor.observe(window(**{term: well})).level == "ok"
    assert monitor.observe(window(**{term: bad})).level == "warn"
    assert kind(action="stop", bound=1e9 if kind.highest else 1e-9).observe(window(**{term: bad})).level == "ok"


def test_a_figure_that_is_not_there_says_nothing():
    kinds = [kind for kind in health.kinds().values() if issubclass(kind, TermMonitor)]
    assert len(kinds) == 8
    for kind in kinds:
        assert kind().observe(window(total=[1.0])).level == "ok"
        assert kind().observe(window(**{kind.term: [math.nan, math.nan]})).level == "ok"


def test_rewards_that_leave_the_truth_behind_are_noticed():
    monitor = RewardGap()
    assert monitor.observe(window(reward=[0.3], truth=[0.2])).level == "ok"
    assert monitor.observe(window(reward=[0.6], truth=[0.4])).level == "ok"
    found = monitor.observe(window(reward=[0.9], truth=[0.4]))
    assert found.level == "warn" and found.figure == pytest.approx(0.4)


def overlaps(monitor, *values):
    return [monitor.observe(window(overlap=[value])) for value in values]


def test_an_overlap_with_the_teacher_may_be_low_at_first_but_not_for_long():
    monitor = TeacherOverlap()
    found = overlaps(monitor, 0.1, 0.2, 0.3, 0.35, 0.39, 0.39, 0.5, 0.6)
    assert [verdict.level for verdict in found] == ["ok"] * 4 + ["warn"] + ["ok"] * 3
    assert found[4].figure == pytest.approx(0.39) and "5 times in a row" in found[4].reason
    assert "warn" not in {v.level for v in overlaps(TeacherOverlap(), 0.1, 0.2, 0.3, 0.39, 0.41, 0.39, 0.39)}
    assert overlaps(TeacherOverlap(patience=1, bound=0.7), 0.69)[0].level == "warn"


def test_an_overlap_with_the_teacher_that_falls_is_noticed_at_once():
    monitor = TeacherOverlap()
    found = overlaps(monitor, 0.6, 0.9, 0.8, 0.7, 0.71, 0.75, 0.71)
    assert [verdict.level for verdict in found] == ["ok", "ok", "ok", "warn", "ok", "ok", "warn"]
    assert "after 90% before" in found[3].reason
    again = TeacherOverlap()
    again.load_state_dict(monitor.state_dict())
    assert overlaps(again, 0.7)[0].level == "ok" and overlaps(again, 0.8, 0.7)[1].level == "warn"
    for option in ("bound", "fall", "patience"):
        with pytest.raises(ConfigError, match=option):
            TeacherOverlap(**{option: -1})


def test_what_was_at_the_beginning_survives_a_stop():
    first, again = PolicyEntropy(), PolicyEntropy()
    first.observe(window(entropy=[2.0]))
    again.load_state_dict(first.state_dict())
    assert again.observe(window(entropy=[0.1])).figure == pytest.approx(0.05)


def test_a_bound_must_be_above_zero():
    with pytest.raises(ConfigError, match=r"DeadGroups\(bound=...\) is 0.0"):
        DeadGroups(bound=0.0)
