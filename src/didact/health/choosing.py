"""The monitors of a run, and what each may ask for."""

from collections.abc import Iterable
from typing import get_args

from didact.errors import ConfigError, check_choice
from didact.health.loss_spike import LossSpike
from didact.health.non_finite import NonFinite
from didact.health.prediction_entropy import PredictionEntropy
from didact.health.rank import EffectiveRank
from didact.health.rollouts import ROLLOUT_MONITORS
from didact.health.teacher_hacking import TeacherHacking
from didact.types import Level, Monitor

OFF = "off"
_ALWAYS = (NonFinite, LossSpike)
_OF_EXAMPLES = (EffectiveRank, PredictionEntropy)
_OF_LANGUAGE = (*ROLLOUT_MONITORS, TeacherHacking)
_KINDS = {kind.name: kind for kind in (*_ALWAYS, *_OF_EXAMPLES, *_OF_LANGUAGE)}


def default_monitors(material: str = "examples") -> list[Monitor]:
    """One of each monitor with its defaults, new ones at every call: a monitor has state and belongs to one run.

    Args:
        material: what the method is taught with: monitors of rollouts look at language models alone.
    """
    return configured((), material)


def configured(choices: Iterable[str], material: str = "examples") -> list[Monitor]:
    """One of each monitor, some of them with another action or left out.

    Args:
        choices: words such as `LossSpike=roll_back` or `EffectiveRank=off`; the actions are those of `types.LEVELS`.
        material: see `default_monitors`.

    Returns:
        New monitors.

    Raises:
        ConfigError: a word that is not like this, an unknown monitor or action.
    """
    actions = dict(_parse(choice) for choice in choices)
    fitting = (*_ALWAYS, *(_OF_EXAMPLES if material == "examples" else _OF_LANGUAGE))
    kept = [(kind, actions.get(kind.name)) for kind in fitting if actions.get(kind.name) != OFF]
    monitors: list[Monitor] = []
    for kind, action in kept:
        monitors.append(kind() if action is None else kind(action=action))  # pyright: ignore[reportArgumentType]
    return monitors


def _parse(choice: str) -> tuple[str, str]:
    name, equals, action = (part.strip() for part in choice.partition("="))
    if not equals:
        raise ConfigError(f"monitors has {choice!r}, but must be like LossSpike=roll_back or EffectiveRank=off.")
    check_choice("monitors", name, _KINDS)
    check_choice(f"monitors: {name}", action, (*get_args(Level)[1:], OFF))
    return name, action
