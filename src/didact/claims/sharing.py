"""Runs that several claims have in common, such as a tuned baseline: made once, while no code changes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from didact.claims.tuning import stated
from didact.documents import Document, Values, read_object
from didact.experiment import keeping, records
from didact.experiment.arms import Arm

Stages = Mapping[str, Sequence[str]]
FOLDER, KEPT = "arms", 3
"""The folder in the cache, and for how many states of didact's code it holds runs."""


def find(world: str, seed: int, settings: Values, arms: Mapping[str, Arm], stages: Stages) -> dict[str, Document]:
    """The results of the arms that were run before, by name.

    Args:
        world: the name of the world.
        seed: the seed.
        settings: those that all arms share.
        arms: by name.
        stages: by arm, the options with the shares of its earlier stages.
    """
    paths = {name: _path(world, seed, settings, arm, stages.get(name, ())) for name, arm in arms.items()}
    return {name: read_object(path) for name, path in paths.items() if path is not None and path.exists()}


def keep(
    world: str, seed: int, settings: Values, arms: Mapping[str, Arm], stages: Stages, results: Mapping[str, Values]
) -> None:
    """Keep the results of arms; see `find`."""
    for name, result in results.items():
        path = _path(world, seed, settings, arms[name], stages.get(name, ()))
        if path is not None:
            records.write_json(path, result)


def _path(world: str, seed: int, settings: Values, arm: Arm, options: Sequence[str]) -> Path | None:
    """The file of an arm, whose name is a hash of all that determines the result; None where nothing is kept."""
    folder = keeping.cache_folder(FOLDER, kept=KEPT)
    content = json.dumps([world, seed, {**settings, **stated(arm)}, list(options)], sort_keys=True)
    name = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
    return None if folder is None else folder / f"{name}.json"
