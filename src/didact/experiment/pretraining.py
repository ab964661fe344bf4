"""Training of parts before a run, in the same loop, with checkpoints of its own."""

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from didact.documents import Document
from didact.errors import PausedError, RunError
from didact.experiment.keeping import Keeper, pretrained_store
from didact.loop import Budget, FitResult, LoopConfig, OptimizerConfig, RunDirectory, fit
from didact.types import Cost, Method, Monitor, Place, Source, Verdict, Window


class StopAtGoal:
    """Stops pretraining when the model has reached an accuracy; a `Monitor`.

    Args:
        goal: the accuracy to reach.
        score: computes the current accuracy.
        labels: the number of validation labels that `score` uses.
    """

    def __init__(self, goal: float, score: Callable[[], float], labels: int) -> None:
        self.goal, self.score, self.labels, self.best = goal, score, labels, 0.0

    def observe(self, window: Window) -> Verdict:
        """Measure the accuracy, and stop at the goal."""
        share = self.score()
        self.best = max(self.best, share)
        level = "stop" if share >= self.goal else "ok"
        return Verdict(level, "warm start", share, f"It is right on {share:.0%} of the validation data.")

    def state_dict(self) -> Document:
        """The best accuracy so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Document) -> None:
        """Restore the best accuracy."""
        self.best = float(state["best"])


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """The training of a model before the run."""

    method: Method
    source: Source
    budget: Budget
    optimizer: OptimizerConfig
    seed: int
    loop: LoopConfig
    """See `fit`; `evaluate_every` and `micro_batch` are ignored here."""
    goal: StopAtGoal | None = None
    """Ends the training; if the budget ends first, the training has failed."""
    monitors: Sequence[Monitor] | None = None
    """By default those of `fit`."""
    cache_key: object = None
    """A JSON value of all that determines the trained weights: the key for other runs; None for this run only."""

    def run(self, path: Path | None, place: Place, part_of: Path | None) -> FitResult:
        """Train, or resume from the last checkpoint.

        Args:
            path: the directory for metrics and checkpoints; without one, nothing is written.
            place: the device and rank of this process.
            part_of: the directory of the run that this training precedes.
        """
        going_on = place.broadcast(path is not None and path.is_dir())
        directory = None
        if path is not None:
            # Trackers that are named get the run that this precedes, and nothing else.
            track = ("none",) if self.loop.track else ()
            directory = RunDirectory(path, fresh=not going_on, track=track, writes=place.first, part_of=part_of)
        with contextlib.closing(directory) if directory is not None else contextlib.nullcontext():
            return fit(
                self.method,
                self.source,
                budget=self.budget,
                optimizer=self.optimizer,
                loop=dataclasses.replace(self.loop, evaluate_every=None, micro_batch=None, patience=None),
                monitors=self.monitors if self.goal is None else [*(self.monitors or ()), self.goal],
                run=directory,
                resume=going_on,
                seed=self.seed,
            )


def pretrain(
    pretraining: Pretraining,
    model: nn.Module,
    name: str,
    words: str,
    *,
    place: Place,
    keeper: Keeper | None,
    directory: Path | None,
) -> Cost:
    """Pretrain a model, or load the weights of an earlier equal pretraining.

    Args:
        pretraining: the training, which changes the model in place.
        model: the trained model.
        name: the name that it is stored by.
        words: role and spec, as the start of a sentence.
        place: the device and rank of this process; the first process stores the model.
        keeper: stores the model for a resumed run.
        directory: for checkpoints of the training itself.

    Raises:
        RunError: The training failed, or did not reach its accuracy.
        PausedError: It paused, for instance because the disk is full; with a directory, it resumes from its last
            checkpoint.
        KeyboardInterrupt: It was interrupted; with a directory, it resumes from its last checkpoint.
    """
    shared = None if pretraining.cache_key is None else pretrained_store(pretraining.cache_key)
    keepers = [one for one in (keeper, shared) if one is not None]
    cost = next((cost for one in keepers if (cost := one(name, model)) is not None), None)
    place.gather_objects(None)  # no process writes before all have read
    training, part_of = (None, None) if directory is None else (directory / f"{name}-training", directory.parent)
    if cost is None:
        result = pretraining.run(training, place, part_of)
        if result.status == "interrupted":
            onward = "" if part_of is None else f" Continue with: didact resume {part_of}"
            raise KeyboardInterrupt(f"Interrupted in the training before the run: {words}.{onward}")
        cost = _finished(pretraining, result, words)
    if place.first and keeper is not None:
        keeper(name, model, cost)
    if place.first and shared is not None:
        with contextlib.suppress(OSError):  # if the disk of the cache is full, the run continues without it
            shared(name, model, cost)
    if training is not None and place.first:
        shutil.rmtree(training, ignore_errors=True)
    return cost


def _finished(pretraining: Pretraining, result: FitResult, words: str) -> Cost:
    """The cost of a pretraining that ended as planned."""
    if pretraining.goal is not None and result.status == "done":
        raise RunError(
            f"{words}, but after {result.cost.steps} steps it was right on at most "
            f"{pretraining.goal.best:.0%} of {pretraining.goal.labels} validation data; ask for less, or give a "
            "larger model."
        )
    if result.status != ("done" if pretraining.goal is None else "stopped"):
        kind = PausedError if result.status == "paused" else RunError
        raise kind(f"{words}, but its training was {result.status}: {result.reason}")
    result.cost.labels += 0 if pretraining.goal is None else pretraining.goal.labels
    return result.cost


def file_name(words: str) -> str:
    """Turn text into the name of a folder."""
    return re.sub(r"[^a-zA-Z0-9_%]+", "-", words)
