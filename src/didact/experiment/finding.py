"""What kinds of runs there are: the folders of `didact/materials`, found by their path."""

import importlib
from functools import cache
from pathlib import Path
from typing import Any

from didact.errors import ConfigError
from didact.experiment.config import RunConfig
from didact.experiment.material import Material, Objects

FOLDER = Path(__file__).parent.parent / "materials"


@cache
def names() -> tuple[str, ...]:
    """The materials that there are."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob("*/material.py")))


def find(name: str) -> Material[Any]:
    """The material of that name, as a feed has it.

    Raises:
        ConfigError: There is none.
    """
    if name not in names():
        raise ConfigError(f"There are no runs on {name} yet; there are those on {' and '.join(names())}.")
    return importlib.import_module(f"didact.materials.{name}.material").MATERIAL


def check_fields(material: Material[Any], config: RunConfig, objects: Objects) -> None:
    """Refuse what means something for other materials alone.

    Raises:
        ConfigError: Such a field is given.
    """
    others = {field for name in names() for field in find(name).fields} - set(material.fields)
    given, blank = {**config.flat(), **objects.given()}, RunConfig(method="").flat()
    for name in sorted(others):
        value = given[name]
        if value not in (None, blank[name]):
            raise ConfigError(
                f"{name} is {value!r}, but the method {config.method!r} learns from {material.name}, for which it "
                f"means nothing; leave out {name}, or choose another method."
            )
