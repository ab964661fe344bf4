"""didact's exceptions, and checks that raise them.

Every message is a sentence: the problem, with the field and its value, and the remedy.
"""

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


class DidactError(Exception):
    """The base class of didact's errors; the command line prints them without a traceback."""


class ConfigError(DidactError, ValueError):
    """An option, or a combination of options, that cannot work."""


class DataError(DidactError, ValueError):
    """Data that cannot be used as they are."""


class TeacherError(DidactError, ValueError):
    """A teacher that cannot be loaded, or does not fit the data or the method."""


class CheckpointError(DidactError):
    """A checkpoint that is missing, broken or from another run."""


class RunError(DidactError):
    """A run that cannot continue: its directory is in use, its disk is full, its loss is not finite."""


class PausedError(RunError):
    """A run that cannot go on for now, for want of room or of its server; `didact resume` goes on with it."""


class EngineError(RunError):
    """A server that samples rollouts or teaches fails, gives what is no answer, or has cost what it may."""

    status: int | None = None
    """The status of HTTP that it refused with, if it did."""


class PeerError(RunError):
    """Another of the processes that learn together has ended, or cannot be reached."""


class TrustError(DidactError, ValueError):
    """A file asks for code or a download, which only the user may ask for."""


class MissingExtraError(DidactError, ImportError):
    """A part needs a package that is not installed; the message names the extra that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}. Install it with: pip install 'didact[{extra}]'")


def import_optional(module: str, extra: str, purpose: str, package: str | None = None) -> Any:
    """Import a module of an optional package.

    Args:
        module: what is imported, such as `PIL.Image`.
        extra: the extra of didact that brings it.
        purpose: what it is needed for, as the beginning of a sentence.
        package: its name in the package index, where that is not the module's.

    Returns:
        The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(package or module.split(".")[0], extra, purpose) from None


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest known names for a mistyped one, as the end of an error message.

    Args:
        word: the given name.
        known: the valid names.

    Returns:
        A sentence: the nearest names if there are any, all of them otherwise.
    """
    names = sorted(known)
    begun = sorted((name for name in names if word and name.startswith(word)), key=len)
    close = begun[:3] or difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(names) or 'none'}."


def check_range(
    field: str,
    value: float,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> None:
    """Raise `ConfigError` unless a number is within the given bounds.

    Args:
        field: the name of the option, for the message.
        value: the number; NaN never passes.
        above: exclusive lower bound.
        at_least: inclusive lower bound.
        below: exclusive upper bound.
        at_most: inclusive upper bound.
    """
    bounds = [
        (above, "above", lambda v, b: v > b),
        (at_least, "at least", lambda v, b: v >= b),
        (below, "below", lambda v, b: v < b),
        (at_most, "at most", lambda v, b: v <= b),
    ]
    given = [(bound, words, holds) for bound, words, holds in bounds if bound is not None]
    if value != value or not all(holds(value, bound) for bound, _, holds in given):
        wanted = " and ".join(f"{words} {bound:g}" for bound, words, _ in given)
        raise ConfigError(f"{field} is {value!r}, but must be {wanted or 'a number'}.")


def shown(value: object) -> str:
    """A value as code, for a message: at most about 200 characters, as it may be a whole data set."""
    code = repr(value)
    return code if len(code) <= 200 else f"{code[:150]} … {code[-40:]}"


def check_choice(field: str, value: str, known: Iterable[str]) -> None:
    """Raise `ConfigError` unless a word is one of those known; the message suggests the nearest."""
    names = list(known)
    if value not in names:
        raise ConfigError(f"{field} is {value!r}, which is not known. {nearest(value, names)}")
