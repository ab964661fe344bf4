"""What parts learn before a run: each pretraining runs in the same loop, with checkpoints of its own."""

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from didact.documents import Document
from didact.errors import RunError
from didact.experiment.keeping import Keeper, pretrained_store
from didact.loop import Budget, FitResult, LoopConfig, OptimizerConfig, fit
from didact.types import Cost, Method, Monitor, Place, Source, Verdict, Window


class StopAtGoal:
    """Stops pretraining when the model is right often enough; a `Monitor`.

    Args:
        goal: the share on which it must be right.
        score: the share on which it is right now.
        labels: how many answers are looked at to tell.
    """

    def __init__(self, goal: float, score: Callable[[], float], labels: int) -> None:
        self.goal, self.score, self.labels, self.best = goal, score, labels, 0.0

    def observe(self, window: Window) -> Verdict:
        """Ask, and count right answers."""
        share = self.score()
        self.best = max(self.best, share)
        level = "stop" if share >= self.goal else "ok"
        return Verdict(level, "warm start", share, f"It is right on {share:.0%} of the validation data.")

    def state_dict(self) -> Document:
        """The best share so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Document) -> None:
        """Take back what `state_dict` gave."""
        self.best = float(state["best"])


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """How a model is trained before the run."""

    method: Method
    source: Source
    budget: Budget
    optimizer: OptimizerConfig
    seed: int
    loop: LoopConfig
    """See `fit`; how often the run is evaluated and how its batches are cut means nothing here."""
    reached: StopAtGoal | None = None
    """Ends it; where the budget ends first, it has failed."""
    monitors: Sequence[Monitor] | None = None
    """By default those of `fit`."""
    decided_by: object = None
    """All that decides what is learned, as JSON has it, by which it is kept for every run; None to keep it for this run
    alone."""

    def run(self, directory: Path | None, place: Place) -> FitResult:
        """Train, or go on from the last checkpoint.

        Args:
            directory: for figures and checkpoints; without one, nothing is written.
            place: this process among those that learn together.
        """
        going_on = place.broadcast(directory is not None and directory.is_dir())
        return fit(
            self.method,
            self.source,
            budget=self.budget,
            optimizer=self.optimizer,
            loop=dataclasses.replace(self.loop, evaluate_every=None, micro_batch=None),
            monitors=self.monitors if self.reached is None else [*(self.monitors or ()), self.reached],
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
    """Pretrain a model, or load the weights that it had after the same pretraining.

    Args:
        pretraining: the model is trained in place.
        model: the one that is taught.
        name: by which it is kept.
        words: what it is in the run, as the beginning of a sentence.
        place: this process among those that learn together; the first one keeps what was learned.
        keeper: keeps it for the next time.
        directory: for checkpoints of the training itself.

    Raises:
        RunError: The training broke down, or was not enough.
        KeyboardInterrupt: It was interrupted; with a directory, it goes on from its last checkpoint.
    """
    shared = None if pretraining.decided_by is None else pretrained_store(pretraining.decided_by)
    keepers = [one for one in (keeper, shared) if one is not None]
    cost = next((cost for one in keepers if (cost := one(name, model)) is not None), None)
    place.gather_objects(None)  # until all have looked, none writes
    training = None if directory is None else directory / f"{name}-training"
    if cost is None:
        result = pretraining.run(training, place)
        if result.status == "interrupted":
            onward = "" if directory is None else f" Go on with: didact resume {directory.parent}"
            raise KeyboardInterrupt(f"Interrupted in the training before the run: {words}.{onward}")
        cost = _finished(pretraining, result, words)
    if place.first and keeper is not None:
        keeper(name, model, cost)
    if place.first and shared is not None:
        with contextlib.suppress(OSError):  # where the caches are full, this run has what it needs all the same
            shared(name, model, cost)
    if training is not None and place.first:
        shutil.rmtree(training, ignore_errors=True)
    return cost


def _finished(pretraining: Pretraining, result: FitResult, words: str) -> Cost:
    """What pretraining cost, where it came to its end."""
    if pretraining.reached is not None and result.status == "done":
        raise RunError(
            f"{words}, but after {result.cost.steps} steps on the data's answers it was right on "
            f"{pretraining.reached.best:.0%} of {pretraining.reached.labels} validation data at most; ask for less, or "
            "give a larger model."
        )
    if result.status != ("done" if pretraining.reached is None else "stopped"):
        raise RunError(f"{words}, but its training was {result.status}: {result.reason}")
    result.cost.labels += 0 if pretraining.reached is None else pretraining.reached.labels
    return result.cost


def file_name(words: str) -> str:
    """Words as the name of a folder."""
    return re.sub(r"[^a-zA-Z0-9_%]+", "-", words)
