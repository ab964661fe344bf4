"""The materials, which are the folders of `didact/materials`, found by their path.

The package of a material is light. It defines the flags of its runs that do not apply to every run (`FIELDS`), the
required flags (`USE`), and its cheap baselines (`BASELINES`). Its module `material` defines `MATERIAL`.
"""

import importlib
import types
from functools import cache
from pathlib import Path

from didact.catalogue import MethodInfo
from didact.errors import ConfigError
from didact.experiment.config import PLACES, RunConfig
from didact.experiment.material import Data, Material, Objects

FOLDER = Path(__file__).parent.parent / "materials"


@cache
def packages() -> dict[str, types.ModuleType]:
    """The packages of the materials by name."""
    names = sorted(path.parent.name for path in FOLDER.glob("*/material.py"))
    return {name: importlib.import_module(f"didact.materials.{name}") for name in names}


def baselines() -> tuple[str, ...]:
    """The cheap baselines of all materials."""
    return tuple(name for package in packages().values() for name in package.BASELINES)


def find(info: MethodInfo) -> Material[Data]:
    """The material of a method.

    Raises:
        ConfigError: It does not exist.
    """
    name = info.method_type.feed.material
    if name not in packages():
        raise ConfigError(
            f"The method {info.name!r} learns from {name}, which are not supported yet; supported are "
            f"{' and '.join(packages())}."
        )
    return importlib.import_module(f"didact.materials.{name}.material").MATERIAL


def check_fields(material: Material[Data], config: RunConfig, objects: Objects) -> None:
    """Refuse fields that apply only to other materials.

    Raises:
        ConfigError: Such a field is given.
    """
    named, blank = objects.names(), RunConfig(method=config.method)
    known = {flag for package in packages().values() for flag in package.FIELDS}
    for flag in sorted(known - set(packages()[material.name].FIELDS)):
        table, name = PLACES[flag]
        value, default = (getattr(getattr(one, table) if table else one, name) for one in (config, blank))
        if (value := named.get(flag, value)) != default:
            raise ConfigError(
                f"{flag} is {value!r}, but the method {config.method!r} learns from {material.name}, to which it "
                f"does not apply; leave out {flag}, or choose another method."
            )
