"""Custom objects by `package.module:name`."""

import importlib
from typing import Any

from didact import trusting
from didact.errors import nearest
from didact.parts.kinds import Spec, kinds


def import_object(spec: Spec) -> Any:
    """Import the object of a spec `package.module:name`; the name may have dots.

    Args:
        spec: its argument is the whole text.

    Raises:
        ConfigError: There is no such module, or no such name in it.
        TrustError: It comes from an untrusted file; see `didact.trusting`.
    """
    trusting.check(spec.argument, "code")
    module, _, name = spec.argument.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        known = nearest(module, (kind.name for kind in kinds(spec.role).values() if kind.named))
        raise spec.error(f"{module!r} cannot be imported ({error}). {known}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            public = [one for one in dir(found) if not one.startswith("_")]
            raise spec.error(f"{module!r} has no {name!r}. {nearest(part, public)}")
        found = getattr(found, part)
    return found
