"""Records of runs and comparisons, besides those of the loop."""

import contextlib
import json
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from didact.documents import Document, Values, read_object
from didact.errors import CheckpointError
from didact.experiment.config import RunConfig

RUNS = Path("runs")
"""The folder of runs without a given directory."""
_KINDS = {"config": dict, "data": dict, "objects": list}
"""The parts of `config.json` that resuming relies on."""
_PACKAGES = ("torch", "numpy", "safetensors")


def new_directory(method: str, data: str) -> Path:
    """A new directory under `runs/`, named by method, data and the next free number."""
    name = "-".join(Path(word.removeprefix("hf:")).stem for word in (method, data))
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
    number = 1
    while (path := RUNS / f"{plain}-{number:03d}").exists():
        number += 1
    return path


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


def run_description(config: RunConfig, objects: list[str], data: Values) -> Document:
    """The contents of `config.json`, with which the run can be repeated.

    Args:
        config: the configuration with all defaults resolved.
        objects: the names of Python objects.
        data: the description of the data.
    """
    return {"config": config.as_dict(), "objects": objects, **environment(), "data": data}


def environment() -> Document:
    """Versions, and the commit of the working directory's repository, if any."""
    versions = {name: version(name) for name in _PACKAGES}
    commit = None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        words = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
        commit = done.stdout.strip() or None if done.returncode == 0 else None
    return {
        "versions": {"didact": version("didact"), "python": platform.python_version(), **versions},
        "machine": {"platform": platform.platform(), "threads": torch.get_num_threads()},
        "commit": commit,
    }


def write_json(path: Path, document: Values) -> None:
    """Write a JSON file atomically; its folder is created if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")
    partial.replace(path)
