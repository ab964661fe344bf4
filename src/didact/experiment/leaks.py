"""Leaks of test data through students and teachers from runs on another split of the same data."""

from collections.abc import Iterator
from pathlib import Path

from didact.experiment import config as configs
from didact.experiment import records
from didact.experiment.material import Data, Run


def find_leaks(run: Run[Data]) -> Iterator[str]:
    """A sentence for each earlier run of a student or teacher that was trained on the current test data.

    Args:
        run: the assembled run.
    """
    for role, part in run.parts.items():
        for origin in part.origin:
            if (leak := _leak(role, origin, run)) is not None:
                yield leak


def _leak(role: str, origin: Path, run: Run[Data]) -> str | None:
    stored = records.read_config(origin)
    if stored.get("data", {}).get("fingerprint") != run.data.fingerprint:
        return None
    then, now = configs.make_config(stored["config"]), run.config
    if then.split_seed == now.split_seed and then.split.test >= now.split.test:
        return None
    return (
        f"The {role} {origin} was trained on another split of these data, which contains some of these test "
        f"{run.material.name}; give split_seed={then.split_seed} and test={then.split.test:g} for the same split."
    )
