"""A custom environment: a function without arguments that makes one, of didact, TRL or verifiers."""

from collections.abc import Callable

from didact.parts.kinds import Spec
from didact.parts.own import import_object
from didact.rollouts.environments import Environment, as_environment

FORM = "package.module:factory"
EXAMPLE = "my_package.games:make"
NAMES = "code"


def build(spec: Spec) -> Callable[[], Environment]:
    """Makes what the imported function makes.

    Raises:
        ConfigError: it is no function.
    """
    make = import_object(spec)
    if not callable(make):
        raise spec.error(f"it is a {type(make).__name__}; name a function without arguments that makes an environment.")
    return lambda: as_environment(make())
