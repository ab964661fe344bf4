"""The monitors of a run, and what each may ask for."""

from collections.abc import Iterable
from typing import Any, get_args

from didact.errors import ConfigError, check_choice
from didact.health.loss_spike import LossSpike
from didact.health.non_finite import NonFinite
from didact.health.prediction_entropy import PredictionEntropy
from didact.health.rank import EffectiveRank
from didact.health.rollouts import ROLLOUT_MONITORS
from didact.health.teacher_hacking import TeacherHacking
from didact.types import Level, Monitor

OFF = "off"


MonitorKind = type[Any]
"""The class of a monitor, whose `name` is that by which it is configured, and which takes an `action`."""
EXAMPLE_MONITORS: tuple[MonitorKind, ...] = (NonFinite, LossSpike, EffectiveRank, PredictionEntropy)
"""The kinds that suit methods that are taught with examples."""
QUESTION_MONITORS: tuple[MonitorKind, ...] = (NonFinite, LossSpike, *ROLLOUT_MONITORS, TeacherHacking)
"""The kinds that suit language models."""
_KINDS = {kind.name: kind for kind in (*EXAMPLE_MONITORS, *QUESTION_MONITORS)}


def default_monitors(kinds: Iterable[MonitorKind] = EXAMPLE_MONITORS) -> list[Monitor]:
    """One of each monitor with its defaults, new ones at every call: a monitor has state and belongs to one run.

    Args:
        kinds: those that suit what the method is taught with.
    """
    return configured((), kinds)


def configured(choices: Iterable[str], kinds: Iterable[MonitorKind] = EXAMPLE_MONITORS) -> list[Monitor]:
    """One of each monitor, some of them with another action or left out.

    Args:
        choices: words such as `LossSpike=roll_back` or `EffectiveRank=off`; the actions are those of `types.LEVELS`.
        kinds: see `default_monitors`.

    Returns:
        New monitors.

    Raises:
        ConfigError: a word that is not like this, an unknown monitor or action.
    """
    actions = dict(_parse(choice) for choice in choices)
    asked = [(kind, actions.get(kind.name)) for kind in kinds]
    return [kind() if action is None else kind(action=action) for kind, action in asked if action != OFF]


def _parse(choice: str) -> tuple[str, str]:
    name, equals, action = (part.strip() for part in choice.partition("="))
    if not equals:
        raise ConfigError(f"monitors has {choice!r}, but must be like LossSpike=roll_back or EffectiveRank=off.")
    check_choice("monitors", name, _KINDS)
    check_choice(f"monitors: {name}", action, (*get_args(Level)[1:], OFF))
    return name, action
