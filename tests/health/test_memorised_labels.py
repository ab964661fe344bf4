"""The monitor of memorised labels, on answers of which it is known what was learned, and in runs."""

import dataclasses

import pytest
import torch

import didact
from didact.errors import ConfigError
from didact.health.memorised_labels import MemorisedLabels
from didact.types import Window


def window(train, validation):
    """A window in which so many of 100 training labels and of 200 validation labels are answered, the first ones."""
    right = torch.arange(100) < train, torch.arange(200) < validation
    return Window(step=1, losses={}, grad_norm=torch.zeros(0), finite=True, probe=None, labels=lambda: right)


def test_what_was_doubted_at_the_best_is_counted_where_validation_gets_worse():
    watching = MemorisedLabels()
    assert watching.observe(window(40, 150)).figure == 0.0
    assert watching.observe(window(60, 160)).reason == "The student is at its best on validation."
    # Of 40 doubtful ones, 20 more are answered; validation is as good as before, within its error.
    verdict = watching.observe(window(80, 157))
    assert (verdict.level, verdict.figure) == ("ok", 0.5)
    bad = watching.observe(window(80, 150))
    assert (bad.level, bad.figure) == ("warn", 0.5)
    assert "contradicted at its best, it answers 50% as given now, of such validation labels 0%" in bad.reason
    assert "right on 5.0% fewer of all validation labels. It learns labels by heart" in bad.reason
    again = MemorisedLabels()
    again.load_state_dict(watching.state_dict())
    assert again.observe(window(80, 150)).level == "ok", "it is said once"
    silent = again.observe(Window(step=1, losses={}, grad_norm=torch.zeros(0), finite=True, probe=None))
    assert (silent.level, silent.figure) == ("ok", 0.5)
    assert again.observe(window(100, 160)).figure == 0.0


def test_validation_labels_that_are_learned_too_were_not_memorised():
    watching = MemorisedLabels()
    watching.observe(window(60, 100))
    right = torch.arange(100) < 80, (torch.arange(200) >= 70) & (torch.arange(200) < 150)
    verdict = watching.observe(dataclasses.replace(window(0, 0), labels=lambda: right))
    assert (verdict.level, verdict.figure) == ("ok", 0.0)


def test_too_few_labels_say_nothing():
    watching = MemorisedLabels()
    watching.observe(window(81, 190))
    assert watching.observe(window(100, 150)).reason == "There were too few doubtful labels."
    watching = MemorisedLabels()
    watching.observe(window(50, 190))
    assert "validation labels 0%" not in watching.observe(window(100, 150)).reason
    with pytest.raises(ConfigError, match="bound"):
        MemorisedLabels(bound=1.5)


def test_a_run_on_wrong_labels_says_so_and_one_on_right_labels_does_not():
    given = {"data": "digits", "labels": 400, "student": "mlp:256", "lr": 0.01, "steps": 250, "batch_size": 128}
    given |= {"log_every": 2, "progress": False}
    found = {share: didact.run("supervised", redraw_labels=share, **given) for share in (0.0, 0.4)}
    said = {share: [verdict.monitor for _, verdict in result.verdicts] for share, result in found.items()}
    assert "memorised_labels" in said[0.4] and "memorised_labels" not in said[0.0]
