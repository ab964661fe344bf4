"""The arms of a comparison: from words or mappings to configurations that can fairly be compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from didact import catalogue
from didact.errors import ConfigError, nearest
from didact.experiment import running
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.experiment.preparing import takes

BASELINES = ("label_spreading", "logistic_regression", "ridge", "boosted_trees", "pixel_gaussian")
"""The cheap alternatives that can stand beside the methods, where they fit the data."""
Arm = str | Mapping[str, Any] | RunConfig
"""A method's name with settings after commas, a mapping of settings with `method`, or a whole configuration."""
_EQUAL = ("budget", "labels", "data", "target", "validation", "test", "seed", "split_seed", "id_column", "text_column")
_EQUAL_REASON = "every arm of a comparison has the same data, labels, splits and budget"


def parse_arm(words: str) -> tuple[str, dict[str, str]]:
    """Read `distill,temperature=2,learner=mlp:64,64` into a method and its settings.

    A part without `=` belongs to the value before it.

    Raises:
        ConfigError: It cannot be read.
    """
    first, *parts = words.split(",")
    settings: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if equals:
            settings[name.strip().replace("-", "_")] = value.strip()
        elif settings:
            settings[next(reversed(settings))] += f",{part}"
        else:
            raise ConfigError(f"The arm {words!r} cannot be read; write it like distill,temperature=4,teacher=random.")
    return first.strip(), settings


class Plan:
    """The arms of a comparison, each with its configuration, and the objects that were given from Python.

    Args:
        arms: see `compare`; likewise the others.
        data: see `arms`.
        learner: see `arms`.
        teacher: see `arms`.
        settings: what all arms share.

    Raises:
        ConfigError: An arm is not understood, is there twice, or has settings that would make it unfair.
    """

    def __init__(
        self,
        arms: Sequence[Arm] | Mapping[str, Arm],
        *,
        data: Any,
        learner: Any,
        teacher: Any,
        settings: dict[str, Any],
    ) -> None:
        named = dict(arms) if isinstance(arms, Mapping) else _named(arms)
        if not named:
            raise ConfigError("There is no arm to compare; name at least one method, such as supervised.")
        self.baselines = [name for name, arm in named.items() if isinstance(arm, str) and arm in BASELINES]
        self.configs: dict[str, RunConfig] = {}
        self.objects: dict[str, Objects] = {}
        for name, arm in named.items():
            if name not in self.baselines:
                self.configs[name], self.objects[name] = _gathered(arm, data, learner, teacher, settings)
        if not self.configs:
            raise ConfigError("Only baselines were named; name at least one method beside them, such as supervised.")
        self.shared = next(iter(self.configs.values()))
        self.data = data if not isinstance(data, str | Path) else None
        for name, config in self.configs.items():
            for key in _EQUAL:
                if getattr(config, key) != getattr(self.shared, key):
                    raise ConfigError(f"The arm {name!r} has its own {key}, but {_EQUAL_REASON}; leave it out.")


def _named(arms: Sequence[Arm]) -> dict[str, Arm]:
    found: dict[str, Arm] = {}
    for arm in arms:
        name = arm if isinstance(arm, str) else arm.method if isinstance(arm, RunConfig) else _name_of(arm)
        if name in found:
            raise ConfigError(f"The arm {name!r} is there twice; give arms as a mapping to name them.")
        found[name] = arm
    return found


def _name_of(arm: Mapping[str, Any]) -> str:
    rest = [f"{key}={value}" for key, value in arm.items() if key != "method"]
    return ",".join([str(arm.get("method", "?")), *rest])


def _gathered(arm: Arm, data: Any, learner: Any, teacher: Any, settings: dict[str, Any]) -> tuple[RunConfig, Objects]:
    """The configuration of an arm: what is shared, and over it what is its own."""
    if isinstance(arm, RunConfig):
        given = Objects(*(None if isinstance(one, str | Path) else one for one in (data, learner, teacher)))
        return arm, given
    own: dict[str, Any] = dict(arm) if isinstance(arm, Mapping) else {}
    if isinstance(arm, str):
        method, settings_of_arm = parse_arm(arm)
        own = {"method": method, **settings_of_arm}
    parts = {"data": data, "learner": learner, "teacher": teacher} | {
        key: own.pop(key) for key in ("data", "learner", "teacher") if key in own
    }
    method = own.get("method")
    if not isinstance(method, str):
        raise ConfigError(f"An arm is {arm!r}, but must name its method.")
    if method in BASELINES:
        raise ConfigError(f"The arm {arm!r} is a baseline, which has no settings; name it alone.")
    try:
        info = catalogue.find(method)
    except ConfigError:
        known = (*catalogue.names(), *BASELINES)
        raise ConfigError(f"There is no method or baseline {method!r}. {nearest(method, known)}") from None
    if not takes(info, "teacher"):
        parts["teacher"] = None
    # Options that all arms share go to those that have them.
    mine = {option.name for option in info.options}
    shared = {**settings, "options": {k: v for k, v in settings.get("options", {}).items() if k in mine}}
    return running.gather(None, **{**shared, **own, **parts})
