"""Which monitors a run has, and what each may ask for."""

import pytest

from didact import health
from didact.errors import ConfigError

BOTH = {"loss_spike", "non_finite"}
PSEUDO = {"class_coverage", "confirmation_bias", "gate_closed", "pseudo_label_precision"}
EXAMPLES = {"effective_rank", "memorised_labels", "prediction_entropy", "silent_classes", *PSEUDO}
QUESTIONS = {
    *("dead_groups", "length_drift", "policy_entropy", "reference_drift", "repetition", "reward_gap"),
    *("teacher_hacking", "teacher_overlap", "unique_correct"),
}


def names(*given):
    return {monitor.name for monitor in health.monitors(*given)}


def test_a_kind_is_found_by_its_file_and_has_its_name():
    assert set(health.kinds()) == BOTH | EXAMPLES | QUESTIONS
    assert {name: kind.name for name, kind in health.kinds().items()} == {name: name for name in health.kinds()}


def test_each_says_which_materials_it_means_something_for():
    assert names() == names("examples") == BOTH | EXAMPLES
    assert names("questions") == BOTH | QUESTIONS
    assert names("environments") == BOTH
    assert {m.name: m.action for m in health.monitors()} == {
        **dict.fromkeys(BOTH | EXAMPLES, "warn"),
        "non_finite": "stop",
    }


def test_actions_are_chosen_and_monitors_left_out():
    found = {m.name: m.action for m in health.monitors("examples", ["loss_spike = roll_back", "effective_rank=off"])}
    warning = dict.fromkeys(EXAMPLES - {"effective_rank"}, "warn")
    assert found == {"non_finite": "stop", "loss_spike": "roll_back", **warning}
    assert names("questions", ("dead_groups=off", "effective_rank=stop")) == BOTH | QUESTIONS - {"dead_groups"}


def test_each_run_has_monitors_of_its_own():
    first, second = health.monitors(), health.monitors()
    assert not {id(monitor) for monitor in first} & {id(monitor) for monitor in second}


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ("loss_spike", "must be like loss_spike=roll_back"),
        ("loss_spik=stop", "no monitor 'loss_spik'. Did you mean loss_spike. `didact list monitors` prints them"),
        ("base=stop", "no monitor 'base'"),
        ("loss_spike=rollback", "Did you mean roll_back"),
        ("loss_spike=ok", "monitors: loss_spike is 'ok'"),
    ],
)
def test_words_that_cannot_be(choice, match):
    with pytest.raises(ConfigError, match=match):
        health.actions([choice])
