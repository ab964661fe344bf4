"""Atomic writes of files and directories, with checksums.

A file is written under another name, flushed to the disk, and only then renamed. A file of tensors has the checksum of
its content inside, so that it can be moved; a directory has the checksums of its files in `checksums.json`. They are
verified on reading: a file with one changed bit is named and refused.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from didact.documents import Document, Values, parse_json, read_object
from didact.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "checksums.json"
"""The file in a directory with the checksums (SHA-256) of all others."""
CACHE = "DIDACT_CACHE"
"""The environment variable for the folder of pretrained models and other things to keep; empty for none."""
_FACTS, _SUM = "didact", "checksum"
_MASK = os.umask(0)
os.umask(_MASK)
_MODE = 0o666 & ~_MASK
"""Who may read and write a new file; some libraries write files that only the owner can read."""


def user_cache(name: str) -> Path | None:
    """The folder of this name in `DIDACT_CACHE`, by default in the user's cache folder; None if that is empty."""
    named = os.environ.get(CACHE)
    if named == "":
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "didact"
    return home / name if named is None else Path(named) / name


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file atomically; its folder is created if missing.

    Args:
        path: the file; replaced if it exists.

    Yields:
        The path to write to, which is renamed once the file is on the disk.

    Raises:
        OSError: the disk is full or not writable; what was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.chmod(_MODE)
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_directory(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Write a directory atomically, with the checksums of its files.

    Args:
        path: the directory; its parents are created.
        replace: whether to replace an existing one; otherwise that one is kept.

    Yields:
        An empty directory to write into, which is renamed once its files are on the disk.

    Raises:
        OSError: the disk is full or not writable; what was there before is untouched.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        _seal(partial)
        if replace and path.exists():
            shutil.rmtree(path)
        try:
            partial.rename(path)
        except OSError as error:
            if replace or error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        _flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_directory(path: Path) -> None:
    """Verify every file of a directory by its checksum.

    Raises:
        CheckpointError: a file is missing or was altered; the message names it.
    """
    try:
        for name, wanted in read_object(path / MANIFEST).items():
            if ".." in Path(name).parts or not (path / name).is_file() or _digest(path / name) != wanted:
                raise CheckpointError(f"{path} is broken: {name} is not what was written.")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is broken: {MANIFEST} can't be read: {error}.") from error


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", facts: Values) -> None:
    """Write tensors and facts about them; equal content gives equal bytes.

    Args:
        path: a safetensors file.
        tensors: by name.
        facts: ready for JSON.

    Raises:
        OSError: the disk is full or not writable; what was there before is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    kept = unshare(tensors)
    known = json.loads(json.dumps(facts))
    # A single entry: the order of several varies from call to call in safetensors.
    metadata = {_FACTS: json.dumps({**known, _SUM: _content(kept, known)})}
    with whole_file(path) as partial:
        try:
            save_file(kept, partial, metadata=metadata)
        except SafetensorError as error:
            raise as_os_error(error, path) from error


def read_tensors(path: Path) -> "tuple[dict[str, Tensor], Document]":
    """Read a file of `write_tensors`: tensors by name, and facts.

    Raises:
        CheckpointError: it is missing, not from didact, or was altered.
    """
    from safetensors import safe_open

    try:
        if path.exists() and not path.is_file():
            raise CheckpointError("it is not a regular file")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = parse_json(metadata[_FACTS]) if _FACTS in metadata else None
    except Exception as error:
        raise CheckpointError(f"{path} can't be read as safetensors: {error}. Export it again.") from error
    if not isinstance(facts, dict) or _SUM not in facts:
        raise CheckpointError(f"{path} doesn't say what model it is of; give a file that didact export wrote.")
    wanted = facts.pop(_SUM)
    if _content(tensors, facts) != wanted:
        raise CheckpointError(f"{path} is broken: its content is not what was written. Export it again.")
    return tensors, facts


def unshare(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Contiguous CPU tensors without shared memory, as safetensors requires."""
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        if plain.untyped_storage().data_ptr() in seen:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        apart[name] = plain
    return apart


def as_os_error(error: Exception, path: Path) -> OSError:
    """Convert an error of safetensors about a disk to the underlying `OSError`."""
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else errno.EIO
    return OSError(number, os.strerror(number), str(path))


def _content(tensors: "Mapping[str, Tensor]", facts: Values) -> str:
    """The checksum of tensors and facts, independent of their order."""
    import torch

    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _seal(directory: Path) -> None:
    """Write the checksums of all files in a directory, and flush it to the disk."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    sums = {path.relative_to(directory).as_posix(): _digest(path) for path in found}
    (directory / MANIFEST).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    for path in found:
        path.chmod(_MODE)
    for path in (*found, directory / MANIFEST, directory):
        _flush(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
