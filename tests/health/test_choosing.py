"""Which monitors a run has, and what each may ask for."""

import pytest

from didact.errors import ConfigError
from didact.health import EffectiveRank, LossSpike, configured, default_monitors


def test_all_of_them_by_default():
    assert [(m.name, m.action) for m in default_monitors()] == [
        ("NonFinite", "stop"),
        ("LossSpike", "warn"),
        ("EffectiveRank", "warn"),
        ("PredictionEntropy", "warn"),
    ]


def test_actions_are_chosen_and_monitors_left_out():
    found = {type(m): m.action for m in configured(["LossSpike = roll_back", "EffectiveRank=off"])}
    assert found[LossSpike] == "roll_back"
    assert EffectiveRank not in found
    assert len(found) == 3


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ("LossSpike", "must be like LossSpike=roll_back"),
        ("LossSpik=stop", "Did you mean LossSpike"),
        ("LossSpike=rollback", "Did you mean roll_back"),
        ("LossSpike=ok", "monitors: LossSpike is 'ok'"),
    ],
)
def test_words_that_cannot_be(choice, match):
    with pytest.raises(ConfigError, match=match):
        configured([choice])
