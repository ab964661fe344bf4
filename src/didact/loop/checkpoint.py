"""Checkpoints that are written atomically.

A checkpoint is a directory: `tensors.safetensors`, `state.json` (everything that is not a tensor) and `checksums.json`.
It is written under another name, flushed to the disk, and only then renamed. Nothing is ever unpickled.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from didact import files
from didact.documents import Document, Values, read_object
from didact.errors import CheckpointError

TENSORS, STATE = "tensors.safetensors", "state.json"
LARGEST = 1 << 30
"""The largest size of the part of a state that is not tensors, in bytes."""
_TENSOR_KEY = "__tensor__"
_ALIGNMENT = 64
"""Where torch lets a tensor begin on a CPU, in bytes: its address is a multiple of this."""


def save_checkpoint(directory: Path, state: Values) -> None:
    """Write a state, atomically.

    Args:
        directory: the checkpoint's directory; replaced if it exists.
        state: nested string- or integer-keyed mappings and lists of tensors, numbers, strings, booleans and None.

    Raises:
        CheckpointError: a value cannot be written; the message gives its place in the state.
        OSError: the disk is full or not writable; an existing checkpoint is untouched.
    """
    tensors: dict[str, Tensor] = {}
    plain = _pack(state, "", tensors)
    with files.whole_directory(directory) as partial:
        try:
            save_file(files.unshare(tensors), partial / TENSORS)
        except SafetensorError as error:
            raise files.as_os_error(error, partial / TENSORS) from error
        (partial / STATE).write_text(json.dumps(plain))


def read_checkpoint(directory: Path) -> Document:
    """Read a state, after verifying its checksums.

    Raises:
        CheckpointError: it is missing, truncated or altered; the message names the file.
    """
    try:
        files.check_directory(directory)
        tensors = {place: _aligned(tensor) for place, tensor in load_file(directory / TENSORS).items()}
        return _unpack(read_object(directory / STATE, largest=LARGEST), tensors)
    except CheckpointError as error:
        raise CheckpointError(f"The checkpoint {error}") from error
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {directory} is broken: {error}.") from error


def list_checkpoints(folder: Path) -> list[Path]:
    """The numbered checkpoints in a folder, the newest first."""
    return sorted((path for path in folder.glob("step-*") if step_of(path) >= 0), reverse=True)


def step_of(directory: Path) -> int:
    """The step of a numbered checkpoint; -1 for anything else."""
    number = directory.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def load_latest(folder: Path, *, until: float = math.inf) -> tuple[Document, Path, list[str]]:
    """Read the newest intact checkpoint.

    Args:
        folder: the folder of numbered checkpoints.
        until: the last step that is considered.

    Returns:
        The state, its directory, and a sentence for each newer checkpoint that was broken.

    Raises:
        CheckpointError: there is none.
    """
    complaints: list[str] = []
    for directory in (path for path in list_checkpoints(folder) if step_of(path) <= until):
        try:
            return read_checkpoint(directory), directory, complaints
        except CheckpointError as error:
            complaints.append(str(error))
    detail = " ".join(complaints) or "It has none yet."
    raise CheckpointError(f"There is no checkpoint to go on from in {folder}. {detail}")


def load_checkpoint(path: Path) -> Document:
    """Read a checkpoint from its own directory, or the newest intact one from a folder of them.

    Raises:
        CheckpointError: there is none, it is broken, or it is not a didact checkpoint.
    """
    if path.is_file():
        raise CheckpointError(
            f"{path} is a file, but a didact checkpoint is a directory with {TENSORS} and {STATE}; "
            "pickled checkpoints are never read, because reading one can run anything."
        )
    return read_checkpoint(path) if (path / files.MANIFEST).exists() else load_latest(path)[0]


def save_numbered(folder: Path, step: int, state: Values, *, keep: int, until: float = math.inf) -> None:
    """Write a state as the newest checkpoint; delete old ones, and remains of interrupted writes.

    Args:
        folder: the folder of numbered checkpoints.
        step: its number.
        state: see `save_checkpoint`, also for errors.
        keep: the number of newest checkpoints that are kept.
        until: the newest one up to this step is kept too.
    """
    save_checkpoint(folder / f"step-{step:010d}", state)
    found = list_checkpoints(folder)
    needed = next((path for path in found if step_of(path) <= until), None)
    for directory in found[keep:]:
        if directory != needed:
            shutil.rmtree(directory, ignore_errors=True)
    for partial in folder.glob(".*.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def drop_after(folder: Path, step: int) -> None:
    """Delete the checkpoints of later steps."""
    for directory in list_checkpoints(folder):
        if step_of(directory) > step:
            shutil.rmtree(directory, ignore_errors=True)


def _pack(value: object, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[place] = value
        return {_TENSOR_KEY: place}
    if isinstance(value, Mapping):
        # JSON has string keys only, but optimizers number their parameters.
        keys = {k: f"#{k}" if isinstance(k, int) else k for k in value}
        return {key: _pack(value[k], f"{place}/{key}", tensors) for k, key in keys.items()}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{place}/{i}", tensors) for i, item in enumerate(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise CheckpointError(f"The state's {place} is a {type(value).__name__}, which a checkpoint cannot hold.")


def _aligned(tensor: Tensor) -> Tensor:
    """A tensor as torch itself would place it: in a file it begins anywhere, and products then differ in last bits."""
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor


def _unpack(value: object, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR_KEY in value:
        return tensors[value[_TENSOR_KEY]]
    return {int(k[1:]) if k[:1] == "#" else k: _unpack(item, tensors) for k, item in value.items()}
