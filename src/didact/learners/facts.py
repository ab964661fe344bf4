"""Validation of the facts in a learner's file, before anything is built from them."""

import math
import sys
from pathlib import Path
from typing import Any, get_args

from didact.documents import Values
from didact.errors import CheckpointError
from didact.preprocessing import parse
from didact.types import Modality, Task

KEYS = {
    *("task", "modality", "shape", "classes", "scale", "preprocessing", "vocabulary", "target", "id_column"),
    *("spec", "config"),
}
"""The facts that `export` writes."""
LONGEST = 10_000
"""Characters of a spec, or of the name of a class, column or category."""
MOST = 1_000_000
"""Classes, columns, or categories of a column."""
ELEMENTS = 10_000_000
"""Numbers in one input."""
IDS = 10_000_000
"""Token ids in a vocabulary."""


def check_facts(path: Path, facts: Values) -> None:
    """Refuse facts that `export` never writes.

    Args:
        path: of the file, for the message.
        facts: from JSON.

    Raises:
        CheckpointError: a fact is unknown, missing, of another type, or out of range.
    """
    if missing := sorted(KEYS ^ set(facts)):
        raise CheckpointError(
            f"{path} should tell {', '.join(sorted(KEYS))}, but differs in {', '.join(missing)[:200]}."
        )
    rules = {
        "task": facts["task"] in get_args(Task),
        "modality": facts["modality"] in get_args(Modality),
        "shape": _is_shape(facts["shape"]),
        "classes": _is_names(facts["classes"]),
        "scale": facts["scale"] is None or _is_scale(facts["scale"]),
        "target": _is_name(facts["target"]),
        "id_column": _is_name(facts["id_column"]),
        "vocabulary": _is_count(facts["vocabulary"], 0, IDS),
        "spec": facts["spec"] is None or _is_name(facts["spec"]),
        "config": isinstance(facts["config"], dict),
    }
    for name, holds in rules.items():
        if not holds:
            raise CheckpointError(
                f"{path} gives its {name} as {_shown(facts[name])}, which cannot be. Export it again."
            )
    if facts["task"] == "classification" and not facts["classes"]:
        raise CheckpointError(f"{path} is of a classifier without classes. Export it again.")
    try:
        known = None if facts["preprocessing"] is None else parse(facts["preprocessing"])
        shape = None if known is None else list(known.shape)
    except ValueError as error:
        raise CheckpointError(f"{path} gives its preprocessing as what cannot be: {error}. Export it again.") from None
    if shape not in (None, facts["shape"]):
        raise CheckpointError(f"{path} gives its shape as {facts['shape']}, but prepares {shape}. Export it again.")


def _is_shape(value: Any) -> bool:
    whole = isinstance(value, list) and 1 <= len(value) <= 8 and all(_is_count(n, 1, ELEMENTS) for n in value)
    return whole and math.prod(value) <= ELEMENTS


def _is_count(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _is_names(value: Any) -> bool:
    return _is_list(value) and all(map(_is_name, value))


def _is_scale(value: Any) -> bool:
    finite = isinstance(value, list) and all(type(n) in (int, float) and abs(n) <= sys.float_info.max for n in value)
    return finite and len(value) == 2 and value[1] > 0


def _shown(value: Any) -> str:
    words = repr(value) if not isinstance(value, list) else f"[{', '.join(repr(item)[:40] for item in value[:4])}, ...]"
    return words if len(words) <= 100 else words[:100] + "..."
