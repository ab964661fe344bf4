"""Shared helpers of the built-in students: numbers in their specs, and seeded initialisation."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from didact.errors import DidactError
from didact.parts.kinds import Spec

DEEPEST = 1000
"""Maximal number of layers of a built-in net."""
WIDEST = 10_000_000
"""Maximal number of units of a layer."""


@contextmanager
def seeded_init(seed: int) -> Iterator[None]:
    """Initialise weights with a seed, and leave the global generator unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def seeded_build(spec: Spec, seed: int) -> Iterator[None]:
    """Make a built-in net with seeded weights.

    Raises:
        ConfigError: The net cannot be made, for instance because of its memory.
    """
    try:
        with seeded_init(seed):
            yield
    except DidactError:
        raise
    except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise spec.error(f"that is a net that cannot be made here: {reason[0]:.200}".rstrip(". ") + ".") from error


def widths_of(spec: Spec) -> list[int]:
    """The numbers of `16,32`, each at least 1."""
    if not re.fullmatch(r"([1-9]\d*(,[1-9]\d*)*)?", spec.argument):
        raise spec.error()
    words = [word for word in spec.argument.split(",") if word]
    parse_bounded(spec, str(len(words)), DEEPEST, "deep")
    return [parse_bounded(spec, word, WIDEST, "wide") for word in words]


def depth_and_width(spec: Spec) -> tuple[int, int]:
    """The numbers of `2x64`, each at least 1."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", spec.argument)
    if found is None:
        raise spec.error()
    return parse_bounded(spec, found[1], DEEPEST, "deep"), parse_bounded(spec, found[2], WIDEST, "wide")


def parse_bounded(spec: Spec, digits: str, most: int, what: str) -> int:
    """A number in a spec, at most `most`; `what` is the adjective for messages."""
    if len(digits) > len(str(most)) or int(digits) > most:
        raise spec.error(f"that is a net that cannot be made here: {digits:.20} {what}, where {most} is the most.")
    return int(digits)
