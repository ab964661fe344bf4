"""Checks of a set-up that take seconds, before a run that takes hours."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from didact import catalogue
from didact.errors import DidactError
from didact.experiment import finding, leaks, records
from didact.experiment.checking import Check, failed_check, run_checks
from didact.experiment.config import RunConfig
from didact.experiment.material import Data, Material, Objects, Run
from didact.experiment.preparing import assemble, refusals
from didact.loop.devices import find_device

ROOM = 1 << 30
"""Free disk in bytes below which checkpoints may not fit."""

LARGEST, LARGEST_STEP = 10.0, 0.3
"""Learning rates beyond which nothing is learned: of SGD, and of optimizers that move each weight by about so much."""
LEAST_SHARE = 10_000
"""How many times smaller than the usual one a learning rate may be."""


def diagnose(config: RunConfig, objects: Objects | None = None) -> list[Check]:
    """Check a run for causes of failure or of misleading results.

    Nothing is trained or written. The teacher predicts a few hundred examples, or a few short completions are sampled.

    Args:
        config: the run's configuration.
        objects: Python objects that replace specs.

    Returns:
        The checks in order; after a failure, those that depend on it are left out.
    """
    checks = list(run_checks({"machine": _machine}, config))
    for check in _of_the_run(config, objects or Objects()):
        checks.append(check)
    return checks


def _of_the_run(config: RunConfig, objects: Objects) -> Iterator[Check]:
    """Yield the checks of the run; each stage depends on the one before."""
    stage = "method"
    try:
        material = finding.find(catalogue.find(config.method))
        stage = "data"
        data = material.open(config, objects.data)
        yield from _data(data, material, config)
        stage = "set-up"
        run = assemble(config, objects, data)
    except DidactError as error:
        yield failed_check(stage, error)
        return
    for check in refusals(run):
        yield check
        if check.level == "fail":
            return
    yield from _leaks(run)
    yield _rate(run)
    yield from material.trials(run)


def _machine(config: RunConfig) -> Iterator[Check]:
    device = find_device(config.loop.device)
    yield Check("pass", "device", f"{device}, {torch.get_num_threads()} threads.")
    place = next(p for p in (records.RUNS, Path.cwd()) if p.exists())
    free = shutil.disk_usage(place).free
    words = f"{free / ROOM:.1f} GiB free in {place.resolve()}"
    short = "; checkpoints may not fit. Free some space, or write elsewhere (--out)"
    yield Check("pass" if free >= ROOM else "warn", "disk", f"{words}{'' if free >= ROOM else short}.")


def _data(data: Data, material: Material[Data], config: RunConfig) -> Iterator[Check]:
    yield from data.checks(config)
    if found := data.duplicates:
        detail = f"{len(found)} {material.name} are in two splits: {found[0]} Remove one of each."
        yield Check("warn", "duplicates", detail)
    else:
        yield Check("pass", "duplicates", f"None of the {material.name} is in two splits.")


def _rate(run: Run[Data]) -> Check:
    """Compare the learning rate with what suits the student."""
    optimizer, usual = run.config.optimizer, run.student.rate
    lr = usual if optimizer.lr is None else optimizer.lr
    words = f"The highest learning rate of {optimizer.name}, lr, is {lr:g}, and {usual:g} is usual for this student"
    largest = LARGEST if optimizer.name == "sgd" else max(LARGEST_STEP, usual)
    if lr > largest:
        return Check("warn", "optimizer", f"{words}: the first steps would undo the weights; lower it.")
    if lr < usual / LEAST_SHARE:
        return Check("warn", "optimizer", f"{words}: hardly anything would be learned; raise it.")
    return Check("pass", "optimizer", f"{words}.")


def _leaks(run: Run[Data]) -> Iterable[Check]:
    return [Check("warn", "leakage", leak) for leak in leaks.find_leaks(run)]
