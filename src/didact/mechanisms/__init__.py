"""Mechanisms: in a world where the truth is known, the effect that a method must have, and a control without it.

The checks of a method are the functions with `@mechanism(...)` in the file of its name in `methods`. Each takes a seed,
runs in a fraction of a second, and returns what it measured as `Found`. `run` judges it over seeds; `breaking` breaks
the method by hand, on which the check must fail. Nothing is registered, and listing them imports none.
"""

import ast
import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from didact.documents import Document
from didact.errors import ConfigError
from didact.mechanisms.checking import Check, Range
from didact.options import parse

SEEDS = (0, 1, 2)
_FOLDER = Path(__file__).parent / "methods"


@dataclass(frozen=True, slots=True)
class Judged:
    """A check over seeds."""

    method: str
    name: str
    passed: bool
    words: str
    """What was measured, in a sentence."""


def names() -> tuple[str, ...]:
    """The methods that have checks."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__"))


def described(method: str) -> tuple[Document, ...]:
    """The checks of a method, read from their file without running it: `name`, and the arguments of `mechanism`."""
    return _described(_FOLDER / f"{method}.py") if method in names() else ()


@cache
def _described(path: Path) -> tuple[Document, ...]:
    return tuple(read(path))


def read(path: Path) -> Iterator[Document]:
    """The checks in a file; see `described`."""
    for node in parse(path)[1].body:
        if isinstance(node, ast.FunctionDef):
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "mechanism":
                    yield {"name": node.name, **{str(one.arg): ast.literal_eval(one.value) for one in call.keywords}}


def checks(method: str) -> list[Check]:
    """The checks of a method; its file is imported."""
    if method not in names():
        return []
    module = importlib.import_module(f"didact.mechanisms.methods.{method}")
    return [getattr(module, str(one["name"])) for one in described(method)]


def run(method: str, check: Check, seeds: Sequence[int] = SEEDS) -> Judged:
    """Judge a check: the effect is there with every seed, and in the mean of the seeds the control has none.

    Args:
        method: the method's name.
        check: one of its checks.
        seeds: of what is random.

    Raises:
        ConfigError: the ranges of effect and control overlap, so that the check could not tell right from wrong.
    """
    found = [check(seed) for seed in seeds]
    for one in found:
        if max(one.predicted[0], one.null[0]) <= min(one.predicted[1], one.null[1]):
            raise ConfigError(
                f"The check {check.__name__} of {method} predicts {one.predicted} with the mechanism and {one.null} "
                "without it, which overlap; it could not tell right from wrong."
            )
    control = math.fsum(one.control for one in found) / len(found)
    there = all(one.predicted[0] <= one.effect <= one.predicted[1] for one in found)
    absent = found[0].null[0] <= control <= found[0].null[1]
    low, high = min(one.effect for one in found), max(one.effect for one in found)
    words = (
        f"effect {low:.4g} to {high:.4g}, {_range(found[0].predicted)}; control {control:.4g}, {_range(found[0].null)}"
    )
    return Judged(method, check.__name__, there and absent, words)


def _range(bounds: Range) -> str:
    low, high = bounds
    if math.isinf(high):
        return f"predicted {low:.4g} or more"
    return f"predicted {high:.4g} or less" if math.isinf(low) else f"predicted {low:.4g} to {high:.4g}"
