"""Storage of models that are trained before a run, so that they are not trained twice."""

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from didact import files
from didact.documents import read_object
from didact.errors import CheckpointError
from didact.experiment import records
from didact.types import Cost
from didact.types.frozen import load_module_state, module_state

WEIGHTS = "weights.safetensors"
"""The file of a model's weights."""
FROZEN = "frozen"
"""The fact with the hashes of frozen weights, which are read from their own files again."""
COST = "cost.json"
"""The file of its training cost."""
PRETRAINED = "pretrained"
"""The folder of pretrained models in the user's cache folder."""
KEPT = 200
"""Maximal number of models in the cache; the oldest are deleted first."""

Keeper = Callable[..., Cost | None]
"""`keeper(name, model)` loads stored weights and returns their cost, or None if there are none;
`keeper(name, model, cost)` stores them."""


class ModelStore:
    """Stores models in a folder, each atomically in a folder of its own; a `Keeper`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, model: nn.Module, cost: Cost | None = None) -> Cost | None:
        """Load weights, or store them if `cost` is given."""
        path = self.folder / name
        if cost is not None:
            self._keep(path, model, cost)
            return cost
        if not (path / COST).exists():
            return None
        try:
            files.check_directory(path)
            cost = _cost(path / COST)
            _load(path / WEIGHTS, model)
        except (OSError, ValueError, CheckpointError) as error:
            raise CheckpointError(
                f"The pretrained model in {path} cannot be loaded: {str(error).rstrip('.')}. Delete that folder, and "
                "it is trained again."
            ) from error
        return cost

    def _keep(self, path: Path, model: nn.Module, cost: Cost) -> None:
        with files.whole_directory(path, replace=not (path / COST).exists()) as made:
            state = module_state(model)
            hashes = {name: kept for name, kept in state.items() if isinstance(kept, str)}
            tensors = {name: kept for name, kept in state.items() if name not in hashes}
            files.write_tensors(made / WEIGHTS, tensors, {FROZEN: hashes})
            records.write_json(made / COST, cost.as_dict())


def _cost(path: Path) -> Cost:
    try:
        return Cost.of(read_object(path))
    except ValueError as error:
        raise ValueError(f"{path.name} is no cost: {error}") from None


def _load(path: Path, model: nn.Module) -> None:
    tensors, facts = files.read_tensors(path)
    try:
        load_module_state(model, {**tensors, **facts.get(FROZEN, {})})
    except RuntimeError as error:
        raise CheckpointError(f"{path} holds the weights of another model: {error}.") from error


def pretrained_store(content: object) -> ModelStore | None:
    """The cache of pretrained models for all runs on this machine, keyed by everything that determines the weights.

    Args:
        content: a JSON value that determines the weights, together with the versions of didact and PyTorch.

    Returns:
        A store for this content in the folder `DIDACT_CACHE` (by default `didact/pretrained` in the user's cache
        folder); None if the variable is empty, or the folder cannot be written.
    """
    folder = cache_folder(PRETRAINED, content, kept=KEPT)
    return None if folder is None else ModelStore(folder)


def cache_folder(name: str, content: object = None, *, kept: int) -> Path | None:
    """A folder of the cache for all runs on this machine with this code of didact and this version of PyTorch.

    Args:
        name: what it holds; `PRETRAINED` is the folder that `DIDACT_CACHE` names, and others are in it.
        content: a JSON value that also determines what it holds.
        kept: the maximal number of such folders; the oldest are deleted first.

    Returns:
        The folder, which may not exist; None if the variable is empty, or the folder around it cannot be written.
    """
    root = files.user_cache(name)
    if root is None:
        return None
    if name == PRETRAINED and os.environ.get(files.CACHE):
        root = root.parent
    key = hashlib.blake2b(json.dumps([_code(), torch.__version__, content]).encode(), digest_size=16).hexdigest()
    try:
        root.mkdir(parents=True, exist_ok=True)
        for old in sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[kept - 1 :]:
            if old.name != key:
                shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return None
    return root / key


@functools.cache
def _code() -> str:
    """A hash of all of didact's code."""
    folder = Path(__file__).parent.parent
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
