"""What the built-in students share: numbers in their specs, and weights drawn by a seed alone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from didact.parts.kinds import Spec


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Draw weights by a seed, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


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
