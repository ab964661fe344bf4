"""Leaks of test data through students and teachers from runs on another split of the same data."""

from collections.abc import Iterator
from pathlib import Path

from didact.experiment import config as configs
from didact.experiment import records
from didact.experiment.config import RunConfig
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
    if _same_test(then, now):
        return None
    return (
        f"The {role} {origin} was trained on another split of these data, which contains some of these test "
        f"{run.material.name}; give split_seed={then.split_seed} and test={then.split.test} for the same split."
    )


def _same_test(then: RunConfig, now: RunConfig) -> bool:
    """Whether the current test data were test data then."""
    columns = ("group_column", "time_column", "split_column")
    if any(getattr(then.data, name) != getattr(now.data, name) for name in columns):
        return False
    if then.data.split_column is not None or then.split.files or now.split.files:
        return then.split.files == now.split.files
    seeds = then.split_seed == now.split_seed or then.data.time_column is not None
    return seeds and then.split.fractions["test"] >= now.split.fractions["test"]
