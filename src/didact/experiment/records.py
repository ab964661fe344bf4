"""Records of runs and comparisons, besides those of the loop."""

import contextlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from didact.documents import Document, Values, read_object
from didact.errors import CheckpointError, ConfigError
from didact.experiment.config import RunConfig

RUNS = Path("runs")
"""The folder of runs without a given directory."""
_KINDS = {"config": dict, "data": dict, "objects": list}
"""The parts of `config.json` that resuming relies on."""
_PACKAGES = ("torch", "numpy", "safetensors")


@contextlib.contextmanager
def new_directory(method: str, data: str) -> Iterator[Path]:
    """Make a new directory under `runs/`, named by method, data and the next free number.

    Making it claims the name, so that runs that begin in the same instant get different ones. It is removed again if
    nothing was written into it, and `runs/` with it if it is new.
    """
    name = "-".join(Path(word.removeprefix("hf:")).stem for word in (method, data))
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
    first = not RUNS.exists()
    number, path = 1, RUNS / f"{plain}-001"
    while True:
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError:
            number, path = number + 1, RUNS / f"{plain}-{number + 1:03d}"
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.rmdir()
            if first:
                RUNS.rmdir()


def check_output(name: str, path: str | Path) -> Path:
    """Check that a file can be written, before anything is computed for it; nothing is created.

    Args:
        name: the option that names it, for the message.
        path: the file; its folder may be missing.

    Raises:
        ConfigError: It is a directory, or its folder is not one, or cannot be written.
    """
    path = Path(path)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "is a directory" if path.is_dir() else f"cannot be written: {folder} is no folder that you may write"
        raise ConfigError(f"{name} is {str(path)!r}, which {reason}; name a file.")
    return path


def is_comparison(directory: Path) -> bool:
    """Whether a directory is that of a comparison, finished or not."""
    try:
        return isinstance(read_object(directory / "config.json").get("arms"), dict)
    except (OSError, ValueError):
        return False


def read_comparison(directory: Path) -> Document:
    """Read the `config.json` of a comparison.

    Raises:
        CheckpointError: It is no comparison, or was altered.
    """
    found = read_config(directory)
    kinds = {"arms": dict, "baselines": list, "reference": str, "metric": str}
    wrong = [name for name, kind in kinds.items() if not isinstance(found.get(name), kind)]
    wrong += [] if isinstance(found["config"].get("seeds"), list) else ["seeds"]
    if wrong or not all(isinstance(arm, dict) for arm in found["arms"].values()):
        raise CheckpointError(
            f"{directory / 'config.json'} is not what a comparison writes: its {' and '.join(wrong) or 'arms'} cannot "
            "be read. Restore it, or start a new comparison."
        )
    return found


def read_config(directory: Path) -> Document:
    """Read a run's `config.json`.

    Raises:
        CheckpointError: There is none, or it is not from a run.
    """
    try:
        found = read_object(directory / "config.json")
    except FileNotFoundError:
        raise CheckpointError(f"{str(directory)!r} is not the directory of a run: it has no config.json.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory / 'config.json'} cannot be read: {error}.") from None
    for name, kind in _KINDS.items():
        if not isinstance(found.setdefault(name, kind()), kind):
            raise CheckpointError(
                f"{directory / 'config.json'} is not what a run writes: its {name} is no {kind.__name__}."
            )
    return found


def run_description(directory: Path, config: RunConfig, objects: list[str], data: Values) -> Document:
    """The contents of `config.json`, with which the run can be repeated.

    Args:
        directory: that of the run.
        config: the configuration with all defaults resolved.
        objects: the names of Python objects.
        data: the description of the data.
    """
    # The working directory, to which the paths of a configuration are relative, as seen from the run's.
    folder = os.path.relpath(Path.cwd(), directory)
    return {"config": config.as_dict(), "objects": objects, "folder": folder, **environment(), "data": data}


@contextlib.contextmanager
def working_folder(directory: Path, stored: Document) -> Iterator[Path]:
    """Work in the folder that a run was started from, so that relative paths of its configuration mean the same.

    Args:
        directory: the run's directory.
        stored: its `config.json`; the working directory stays as it is if the folder is not named, or is gone.

    Yields:
        The run's directory, as an absolute path.
    """
    path, folder = directory.absolute(), stored.get("folder")
    if not isinstance(folder, str) or not (path / folder).is_dir():
        yield path
        return
    with contextlib.chdir(path / folder):
        yield path


def environment() -> Document:
    """Versions, and the commit of the working directory's repository, if any."""
    commit = None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        words = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
        commit = done.stdout.strip() or None if done.returncode == 0 else None
    return {
        "versions": dict(_versions()),
        "machine": {"platform": platform.platform(), "threads": torch.get_num_threads()},
        "commit": commit,
    }


@cache
def _versions() -> dict[str, str]:
    return {"didact": version("didact"), "python": platform.python_version(), **{n: version(n) for n in _PACKAGES}}


def plain(document: Values) -> Document:
    """A document after a round trip through a JSON file."""
    return json.loads(json.dumps(document, default=str))


def write_json(path: Path, document: Values) -> None:
    """Write a JSON file atomically; its folder is created if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")
    partial.replace(path)
