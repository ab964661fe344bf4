"""What the built-in students share: numbers in their specs, and weights drawn by a seed alone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from didact.errors import DidactError
from didact.parts.kinds import Spec


@contextmanager
def seeded_init(seed: int) -> Iterator[None]:
    """Draw weights by a seed, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def made(spec: Spec, seed: int) -> Iterator[None]:
    """Make a built-in net, by a seed alone.

    Raises:
        ConfigError: Such a net cannot be made here, for instance for want of memory.
    """
    try:
        with seeded_init(seed):
            yield
    except DidactError:
        raise
    except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise spec.wrong(f"that is a net that cannot be made here: {reason[0]:.200}") from error


def widths_of(spec: Spec) -> list[int]:
    """The numbers of `16,32`, each at least 1."""
    words = [word for word in spec.argument.split(",") if word]
    if not re.fullmatch(r"(\d+(,\d+)*)?", spec.argument) or any(int(word) == 0 for word in words):
        raise spec.wrong()
    return [int(word) for word in words]


def depth_and_width(spec: Spec) -> tuple[int, int]:
    """The numbers of `2x64`, each at least 1."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", spec.argument)
    if found is None:
        raise spec.wrong()
    return int(found[1]), int(found[2])
