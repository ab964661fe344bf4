"""The attributes of a method: declared, so that a resumed run restores them, or refused."""

import copy
import dataclasses
import enum
import functools
import types
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from didact.errors import ConfigError
from didact.types import Method
from didact.types.state import holds_parts, items_of, kind_of, values_of

OWN = frozenset({"step", "fraction", "place", "regrouped"})
"""Attributes that the loop sets itself."""
LARGE = 1 << 16
"""From this number of elements on, a change of a tensor is detected by torch's version counter, not by a copy."""

_FIXED = (
    *(type(None), bool, int, float, complex, str, bytes, range, slice, type, enum.Enum, PurePath, np.generic),
    *(torch.device, torch.dtype, types.FunctionType, types.BuiltinFunctionType, torch.Tensor, np.ndarray),
)
"""Classes of values that an attribute may have as they are."""
_SEVERAL = list | tuple | dict | set | frozenset


class Attributes:
    """The attributes of a method at the start of a run.

    Args:
        method: the method.

    Raises:
        ConfigError: an attribute whose changes cannot be detected, or a module that is out of reach.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        found = dict(_figures(vars(method).items()))
        for place, value in found.items():
            if reason := _refusal(value):
                raise ConfigError(f"{type(method).__name__}.{place} is {reason}")
        self.before = {place: _copied(value) for place, value in found.items()}

    def check(self) -> None:
        """Compare with the start of the run.

        Raises:
            ConfigError: a value changed that is not in checkpoints.
        """
        now = dict(_figures(vars(self.method).items()))
        for place in {**self.before, **now}:
            # A container that is empty on one side may hold parts on the other.
            if _same(self.before.get(place, ()), now.get(place, ())):
                continue
            raise ConfigError(
                f"{type(self.method).__name__}.{place} changed during the run, but no checkpoint holds it, so that a "
                f"resumed run would go on with another value; set self.{place} = Buffer(...) in the constructor and "
                f"use self.{place}.value."
            )


def _figures(attributes: Iterable[tuple[Any, Any]], inside: str = "") -> Iterator[tuple[str, Any]]:
    """The values that are not in checkpoints, by place."""
    for name, value in attributes:
        place, kind = f"{inside}{name}", kind_of(type(value))
        if kind == "container" and holds_parts(value):
            yield from _figures(items_of(value), f"{place}.")
        elif kind != "part" and place not in OWN:
            yield place, value


def _refusal(value: Any) -> str:
    """Why a value is not allowed in an attribute, as the rest of a sentence after "is"; empty if it is."""
    if isinstance(value, Tensor) and (isinstance(value, nn.Parameter) or value.requires_grad):
        return "a bare parameter, which would not be trained; put it into a module, such as nn.ParameterList([...])."
    if isinstance(value, _FIXED):
        return ""
    if isinstance(value, functools.partial):
        inside: Any = (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, _SEVERAL):
        inside = values_of(value)
    elif dataclasses.is_dataclass(value) and getattr(value, "__dataclass_params__").frozen:  # noqa: B009
        inside = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Sequence | Mapping) and not isinstance(value, MutableSequence | MutableMapping):
        return ""
    else:
        return (
            f"a {type(value).__name__}, of which no checkpoint can tell whether it changes; give it state_dict and "
            "load_state_dict, make it a frozen dataclass, or keep its figures in a Buffer."
        )
    # One item of each class is checked.
    if isinstance(value, list | tuple | dict) or not any(kind_of(cls) == "part" for cls in set(map(type, inside))):
        return next(filter(None, map(_refusal, {type(item): item for item in inside}.values())), "")
    return (
        f"a {type(value).__name__} that holds a module or another part, which would be neither trained nor saved; keep "
        "it in an attribute of its own, or in a list or dictionary."
    )


def _copied(value: Any) -> Any:
    """A copy of a value, for a later comparison."""
    if isinstance(value, Tensor):
        return value.detach().clone() if value.numel() < LARGE else _Large(value, value._version)
    if isinstance(value, dict) and _changeable(value):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and _changeable(value):
        return [_copied(item) for item in value]
    return copy.copy(value) if isinstance(value, _SEVERAL | np.ndarray) else value


@dataclasses.dataclass(frozen=True, slots=True)
class _Large:
    """A large tensor and its version counter."""

    tensor: Tensor
    writes: int


def _changeable(container: Any) -> bool:
    """Whether items of a container can change in place."""
    return any(issubclass(cls, Tensor | np.ndarray | _Large) for cls in set(map(type, values_of(container))))


def _same(before: Any, now: Any) -> bool:
    """Whether a value equals the result of `_copied`; all empty values are equal."""
    if isinstance(before, _Large):
        return before.tensor is now and before.writes == before.tensor._version
    if isinstance(before, _SEVERAL) and isinstance(now, _SEVERAL) and not before and not now:
        return True
    if isinstance(before, Tensor):
        return isinstance(now, Tensor) and before.dtype == now.dtype and _equal(before, now.to(before.device))
    if isinstance(before, np.ndarray):
        return isinstance(now, np.ndarray) and np.array_equal(before, now)
    if isinstance(before, dict) and isinstance(now, dict) and _changeable(before):
        return before.keys() == now.keys() and all(_same(before[key], item) for key, item in now.items())
    if isinstance(before, list) and isinstance(now, list | tuple) and _changeable(before):
        return len(before) == len(now) and all(map(_same, before, now))
    return before is now or bool(before == now)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
