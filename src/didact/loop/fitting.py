"""Teaching a learner, from Python: one function."""

from collections.abc import Sequence
from pathlib import Path

from torch.nn.modules.batchnorm import _BatchNorm

from didact import health, stopping
from didact.errors import CheckpointError, ConfigError, check_range
from didact.loop.budget import Budget
from didact.loop.config import LoopConfig, Validation
from didact.loop.devices import blocks_returned, find_device
from didact.loop.engine import Engine
from didact.loop.generators import seed_generators
from didact.loop.ledger import check_budget
from didact.loop.optimizer import OptimizerConfig, OptimizerFactory
from didact.loop.place import find_place
from didact.loop.progress import ProgressLine
from didact.loop.result import FitResult
from didact.loop.run import RunDirectory
from didact.types import Method, Monitor, Place, Source


def fit(
    method: Method,
    source: Source,
    *,
    budget: Budget,
    optimizer: OptimizerConfig | OptimizerFactory | None = None,
    loop: LoopConfig | None = None,
    monitors: Sequence[Monitor] | None = None,
    validation: Validation | None = None,
    run: Path | str | RunDirectory | None = None,
    seed: int = 0,
    resume: bool = False,
) -> FitResult:
    """Teach `method.learner` until the budget is used up.

    Args:
        method: what the loss is; its parts are moved to the device and trained in place.
        source: where batches come from.
        budget: where to end.
        optimizer: its settings, or a function from parameters to an optimizer; by default AdamW with a cosine schedule.
        loop: where it is computed, how often it is looked at, and what is kept.
        monitors: what watches; by default those of `didact.health.monitors`.
        validation: what the student is worth, at the beginning, at the end and as often as `loop.evaluate_every` says.
        run: directory for figures and checkpoints; without one nothing is written. There is always a checkpoint after
            the first step, and one at the end.
        seed: of the global generators (dropout and the like) while the run goes on; the caller's are given back.
        resume: go on from the newest whole checkpoint of `run`, to the bit as if there had been no stop; from the
            beginning, where the run was killed before its first.

    Returns:
        What became of it. The learner has been trained in place.

    Raises:
        ConfigError: settings that cannot work together.
        RunError: the run's directory is in use or already holds a run.
        CheckpointError: there is nothing to resume from, or it is of another architecture.

    Examples:
        >>> from didact.methods.supervised.supervised import Config, Supervised
        >>> from didact.parts.models import build
        >>> from didact.sources import BatchSource
        >>> from didact.worlds import load
        >>> wine = load("wine")
        >>> method = Supervised(Config(), build("mlp:4", wine, seed=0))
        >>> result = didact.fit(method, BatchSource(wine, batch_size=32), budget=didact.Budget(epochs=2))
        >>> result.status, result.cost.labels == wine.size
        ('done', True)
    """
    check_range("seed", seed, at_least=0, below=2**63)
    optimizer, loop = optimizer or OptimizerConfig(), loop or LoopConfig()
    monitors = health.monitors(method.feed.material) if monitors is None else monitors
    if loop.evaluate_every is not None and validation is None:
        raise ConfigError(f"evaluate_every is {loop.evaluate_every}, but there is no `validation`.")
    if loop.patience is not None and loop.evaluate_every is None:
        raise ConfigError(f"patience is {loop.patience}, but nothing is evaluated during the run; set evaluate_every.")
    _check(method, source, budget, monitors, run, resume)
    place = find_place(find_device(loop.device))
    check_place(method, place, loop.micro_batch)
    made = isinstance(run, str | Path)
    directory = RunDirectory(run, fresh=not resume, track=loop.track, writes=place.first) if made else run
    try:
        weights = {weight for module in method.modules().values() for weight in module.parameters()}
        with (
            blocks_returned(sum(weight.nbytes for weight in weights), place.device),
            seed_generators(seed, place.device),
            stopping.stop_requested() as stop,
        ):
            engine = Engine(method, source, budget, optimizer, monitors, place, loop, validation, directory)
            if resume:
                engine.resume()
            with ProgressLine(loop.progress and place.first, type(method).__name__) as line:
                return engine.run(line, stop)
    finally:
        if directory is not None and directory is not run:
            directory.close()


def _check(
    method: Method,
    source: Source,
    budget: Budget,
    monitors: Sequence[Monitor],
    run: object,
    resume: bool,
) -> None:
    """Refuse what cannot work before anything is computed."""
    name = type(method).__name__
    check_budget(budget, method, source)
    if not method.named_parameters():
        raise ConfigError(f"{name} has nothing to train: no parameter of its modules requires a gradient.")
    if resume and run is None:
        raise ConfigError("resume is set, but run is None; name the directory of the run to go on with.")
    if resume and isinstance(run, str | Path) and not Path(run).is_dir():
        raise CheckpointError(f"There is no run to resume in {run}: it is not a directory.")
    rolling = [type(m).__name__ for m in monitors if getattr(m, "action", None) == "roll_back"]
    if rolling and run is None:
        raise ConfigError(f"{rolling[0]} asks to roll back, which needs checkpoints; give the run a directory.")


def check_place(method: Method, place: Place, micro_batch: int | None) -> None:
    """Refuse batches that cannot be cut, for several processes or to save memory.

    Args:
        method: it may have to learn in one process, or to see whole batches.
        place: this process among the others.
        micro_batch: see `LoopConfig`.

    Raises:
        ConfigError: There are several processes, and the method or the cut of batches wants one; or batches are cut
            although the method compares their examples, or cannot count them.
    """
    name = type(method).__name__
    if place.size > 1 and method.feed.alone:
        raise ConfigError(f"{name} cannot learn in {place.size} processes, as {method.feed.alone}; start one.")
    if place.size > 1 and micro_batch is not None:
        raise ConfigError(
            f"micro_batch is {micro_batch}, but {place.size} processes cut each batch already; leave micro_batch out, "
            "and start more of them, or choose a smaller batch."
        )
    if micro_batch is not None:
        if method.feed.coupled:
            raise ConfigError(
                f"micro_batch is {micro_batch}, but {name} compares the examples of a batch with each other, "
                "so that the batch cannot be cut; leave micro_batch out and choose a smaller batch."
            )
        if any(isinstance(part, _BatchNorm) for module in method.modules().values() for part in module.modules()):
            raise ConfigError(
                f"micro_batch is {micro_batch}, but what {name} trains has batch normalisation, which takes the mean "
                "of a whole batch, so that the batch cannot be cut; leave micro_batch out, and take a student that "
                "normalises otherwise, as cnn:16,32 does, choose a smaller batch, or start several processes."
            )
        if type(method).counts is Method.counts:
            raise ConfigError(
                f"micro_batch is {micro_batch}, but {name} has no `counts`, without which a cut batch would be "
                "weighed wrongly; leave micro_batch out, or define counts(batch)."
            )
