"""Monitors of pseudo-labels, on answers of which it is known what is wrong, and in runs."""

import pytest
import torch

import didact
from didact.errors import ConfigError
from didact.health.class_coverage import ClassCoverage
from didact.health.confirmation_bias import ConfirmationBias
from didact.health.gate_closed import GateClosed
from didact.health.pseudo_label_precision import PseudoLabelPrecision
from didact.types import HeldOut, Window

GIVEN = {"label": [0, 1, 2, 3], "said": [0, 1, 0, 0], "gate": [1.0, 1.0, 1.0, 0.0], "student": [0, 2, 0, 0]}


def window(admitted=(), **held_out):
    """A window with each of these pseudo-labels 30 times."""
    found = HeldOut(**{name: torch.tensor(values * 30) for name, values in held_out.items()}) if held_out else None
    return Window(
        step=1,
        losses={"admitted": torch.tensor(admitted, dtype=torch.float64)} if admitted else {},
        grad_norm=torch.zeros(0),
        finite=True,
        probe=None,
        held_out=None if found is None else lambda: found,
    )


@pytest.mark.parametrize(
    ("monitor", "figure", "worse"),
    [
        (PseudoLabelPrecision, 2 / 3, {"said": [0, 0, 0, 1]}),
        (ClassCoverage, 2 / 4, {"said": [0, 0, 0, 0]}),
        (ConfirmationBias, 1 / 3, {"said": [0, 2, 0, 0]}),
    ],
)
def test_pseudo_labels_are_compared_with_labels_that_are_held_out(monitor, figure, worse):
    watching = monitor(bound=0.4)
    verdict = watching.observe(window(**GIVEN))
    assert (verdict.level, verdict.figure) == ("ok", pytest.approx(figure))
    bad = window(**{**GIVEN, **worse})
    verdict = watching.observe(bad)
    assert verdict.level == "warn" and "may help" in verdict.reason
    again = monitor(bound=0.4)
    again.load_state_dict(watching.state_dict())
    assert again.observe(bad).level == "ok", "it is said once"
    few = watching.observe(window(**{**GIVEN, "gate": [0.0] * 4}))
    assert (few.level, few.figure) == ("ok", verdict.figure)
    assert watching.observe(window()).level == "ok"
    with pytest.raises(ConfigError, match="bound"):
        monitor(bound=1.5)


def test_a_closed_gate_is_a_verdict_once_it_stays_closed():
    watching = GateClosed(persist=2)
    seen = [watching.observe(window(admitted)).level for admitted in ([0.0], [0.2, 0.0], [0.0, 0.0], [0.0], [0.0])]
    assert seen == ["ok", "ok", "ok", "warn", "ok"]
    assert watching.observe(window()).level == "ok"


def test_runs_say_what_is_wrong_with_their_pseudo_labels():
    given = {"data": "digits", "labels": 40, "student": "mlp:16", "steps": 6, "log_every": 2, "progress": False}
    closed = didact.run(method="fixmatch", threshold=1.0, **given)
    assert "gate_closed" in [verdict.monitor for _, verdict in closed.verdicts]
    watching = ["pseudo_label_precision=stop"]
    opened = didact.run(method="fixmatch", threshold=0.0, monitors=watching, lr=1e-6, **given)
    assert opened.status == "stopped"
    assert opened.verdicts[-1][1].monitor == "pseudo_label_precision"
