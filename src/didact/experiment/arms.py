"""The arms of a comparison: from strings or mappings to configurations that can be compared fairly."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from didact import catalogue
from didact.documents import Values
from didact.errors import ConfigError, check_choice, nearest
from didact.experiment import config as configs
from didact.experiment import finding, running
from didact.experiment.config import RunConfig, resolve_aliases
from didact.experiment.material import Objects
from didact.experiment.preparing import accepts

Arm = str | Mapping[str, Any] | RunConfig
"""A method's name with settings after commas, a mapping of settings with `method`, or a whole configuration."""
PARTS = ("data", "student", "teacher", "verifier")
"""The parts that can be Python objects."""


def parse_arm(words: str) -> tuple[str, dict[str, str]]:
    """Read `distill,temperature=2,student=mlp:64,64` into a method and its settings.

    Text without `=` belongs to the value before it.

    Raises:
        ConfigError: The arm cannot be read.
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
    """The arms of a comparison, each with its configuration and its Python objects.

    Args:
        arms: see `compare`.
        settings: the settings that all arms share, including `data`, `student` and `teacher`.
        stages: see `compare`.

    Raises:
        ConfigError: An arm is invalid, is given twice, or has settings that would make the comparison unfair.
    """

    def __init__(
        self,
        arms: Sequence[Arm] | Mapping[str, Arm],
        settings: Values,
        stages: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        named = dict(arms) if isinstance(arms, Mapping) else _named(arms)
        if not named:
            raise ConfigError("There is no arm to compare; give at least one method, such as supervised.")
        self.baselines = [name for name, arm in named.items() if isinstance(arm, str) and arm in finding.baselines()]
        gathered = {name: _gathered(arm, settings) for name, arm in named.items() if name not in self.baselines}
        if not gathered:
            raise ConfigError("Only baselines are given; add at least one method, such as supervised.")
        self.configs: dict[str, RunConfig] = {name: config for name, (config, _) in gathered.items()}
        self.objects: dict[str, Objects] = {name: objects for name, (_, objects) in gathered.items()}
        self._check_equal()
        self.early = {arm: early_share(self._staged(arm), options) for arm, options in (stages or {}).items()}
        """By arm, the share of its steps that its earlier stages take."""

    def config(self, arm: str, seed: int) -> RunConfig:
        """An arm's configuration for a seed."""
        config = self.configs[arm].replace(seed=seed)
        return _extended(arm, config, self.early[arm]) if arm in self.early else config

    def _staged(self, arm: str) -> RunConfig:
        check_choice("stages", arm, self.configs)
        return self.configs[arm]

    def _check_equal(self) -> None:
        """Refuse arms that differ in data, labels, splits or budget."""
        flat = {name: config.flat() for name, config in self.configs.items()}
        first = next(iter(flat.values()))
        for name, fields in flat.items():
            for flag, (table, _) in configs.PLACES.items():
                if (flag in ("budget", "seed") or table in ("data", "split")) and fields[flag] != first[flag]:
                    raise ConfigError(
                        f"The arm {name!r} has its own {flag}, but every arm of a comparison has the same data, "
                        "labels, splits and budget; leave it out."
                    )


def early_share(config: RunConfig, options: Sequence[str]) -> float:
    """The share of a run's steps that its earlier stages take.

    Args:
        config: the run.
        options: the options of its method that hold the shares of those stages.

    Raises:
        ConfigError: The method has no such option, or they leave nothing for the last stage.
    """
    method = catalogue.build_config(catalogue.find(config.method), config.options)
    for name in options:
        check_choice("stages", name, [one.name for one in dataclasses.fields(method)])
    share = sum(float(getattr(method, name)) for name in options)
    if not 0.0 <= share < 1.0:
        raise ConfigError(
            f"{' and '.join(options)} of {config.method} add up to {share:g}; leave a part for the last stage."
        )
    return share


def _extended(arm: str, config: RunConfig, share: float) -> RunConfig:
    """A run whose last stage is as long as it was in all."""
    limits = config.budget.limits()
    if set(limits) != {"steps"}:
        raise ConfigError(f"The arm {arm!r} has stages, and its budget is in {', '.join(limits)}; give it in steps.")
    return config.replace(budget={"steps": round(limits["steps"] / (1.0 - share))})


def _named(arms: Sequence[Arm]) -> dict[str, Arm]:
    found: dict[str, Arm] = {}
    for arm in arms:
        name = arm if isinstance(arm, str) else arm.method if isinstance(arm, RunConfig) else _name_of(arm)
        if name in found:
            raise ConfigError(f"The arm {name!r} is given twice; give arms as a mapping to name them.")
        found[name] = arm
    return found


def _name_of(arm: Values) -> str:
    rest = [f"{key}={value}" for key, value in arm.items() if key != "method"]
    return ",".join([str(arm.get("method", "?")), *rest])


def _gathered(arm: Arm, settings: Values) -> tuple[RunConfig, Objects]:
    """The configuration and objects of an arm: shared settings, overridden by its own."""
    shared = resolve_aliases(settings)
    if isinstance(arm, RunConfig):
        words = [name for name, value in shared.items() if isinstance(value, str | Path | None)]
        return arm, running.split_arguments(arm, **{k: v for k, v in shared.items() if k not in words and k in PARTS})[
            1
        ]
    if isinstance(arm, str):
        method, words_of_arm = parse_arm(arm)
        arm = {"method": method, **words_of_arm}
    own = resolve_aliases(arm)
    info = _method(own.get("method"), arm)
    taught = accepts(info, "teacher") or accepts(info, "teachers")
    if not taught:
        shared.pop("teacher", None)
    if not taught or "teacher" in own:
        # They are the rows of the shared teacher.
        shared.pop("teacher_data", None)
    # Shared options apply to the arms whose methods have them.
    mine = {option.name for option in info.options}
    shared["options"] = {name: value for name, value in shared.get("options", {}).items() if name in mine}
    return running.split_arguments(None, **{**shared, **own})


def _method(name: object, arm: object) -> catalogue.MethodInfo:
    """The method of an arm."""
    if not isinstance(name, str):
        raise ConfigError(f"An arm is {arm!r}, but must name its method.")
    if name in finding.baselines():
        raise ConfigError(f"The arm {arm!r} is a baseline, which has no settings; name it alone.")
    try:
        return catalogue.find(name)
    except ConfigError:
        known = (*catalogue.names(), *finding.baselines())
        raise ConfigError(f"There is no method or baseline {name!r}. {nearest(name, known)}") from None
