"""The state of a run: what it is made of and how far it has come, as checkpoints keep it."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from didact.documents import Document, State, Values
from didact.errors import CheckpointError
from didact.loop import checkpoint as ckpt
from didact.loop.budget import Budget
from didact.loop.config import LoopConfig, Validation
from didact.loop.generators import generator_states, set_generator_states
from didact.loop.guard import Guard
from didact.loop.initial import InitialState
from didact.loop.ledger import spenders
from didact.loop.optimizer import OptimizerConfig, OptimizerFactory
from didact.loop.progress import ProgressLine
from didact.loop.recorder import Recorder
from didact.loop.result import FitResult
from didact.loop.run import RunDirectory
from didact.loop.state import Attributes
from didact.loop.stepping import Stepper
from didact.types import Batch, FollowingTeacher, Ledger, Method, Monitor, Place, SharedSource, Source, Stateful

LOG_EVERY = 50
"""Steps in a window where `log_every` does not say."""


class TrainingState:
    """A run, and how far it has come."""

    def __init__(
        self,
        method: Method,
        source: Source,
        budget: Budget,
        optimizer: OptimizerConfig | OptimizerFactory,
        monitors: Sequence[Monitor],
        place: Place,
        loop: LoopConfig,
        validation: Validation | None,
        directory: RunDirectory | None,
    ) -> None:
        device = place.device
        self.loop, self.validation = loop, validation
        self.log_every = loop.log_every or LOG_EVERY
        self.method, self.source, self.budget, self.monitors = method.to(device), source, budget, monitors
        self.method.place = place
        if isinstance(source, SharedSource):
            source.place = place
        self.place, self.device, self.directory = place, device, directory
        self.attributes = Attributes(method)
        self.followers = [one for one in method.teachers() if isinstance(one, FollowingTeacher)]
        self.stepper = Stepper(method, optimizer)
        self.initial = InitialState(method, source)
        self.guard = Guard(device, self.stepper, loop.clip_norm or None)
        self.recorder = Recorder(device)
        self.ledger = Ledger(budget.labels)
        for name, part, _ in spenders({**method.parts(), "": source}):
            part.ledger, part.by = self.ledger, name
        self.cost = self.ledger.cost
        self.windows = 0
        self.seen_step = 0
        """Up to which step monitors have looked."""
        self.rate = 0.0
        self.roll_backs = 0
        self.result = FitResult(status="done", reason="The budget is used up.", cost=self.cost, parts=self.ledger.parts)
        self.saved_step, self.saved_time = -1, time.monotonic()
        self.validated_step = -1
        self.best_weights: State = {}
        """Of the delivered learner when it was best, where those are to be delivered."""
        self.probe: Batch | None = None
        self.line = ProgressLine(False, "")
        self.flops: dict[tuple[tuple[str, ...], tuple[int, ...]], int] = {}
        """Of a step, by the terms of the step before, which tell the stages of a method, and the shape of its batch."""
        self.terms: tuple[str, ...] = ()

    @property
    def fraction(self) -> float:
        """How much of the budget is used."""
        return self.budget.fraction(self.cost, self.source.epoch_size)

    def regroup(self) -> None:
        """Train what the method added, with what it had."""
        known = set(self.stepper.parameters)
        self.method.to(self.device)
        self.stepper.regroup()
        self.stepper.clear()
        for module in self.method.modules().values():
            if known.isdisjoint(module.parameters()):
                module.train()
        self.flops.clear()
        self.method.regrouped = False

    def save(self) -> None:
        """Write a checkpoint."""
        self.attributes.check()
        self.attempt(
            f"The checkpoint of step {self.cost.steps}",
            lambda folder: ckpt.save_numbered(
                folder.checkpoints, self.cost.steps, self.state(), keep=self.loop.keep_checkpoints, until=self.seen_step
            ),
        )
        self.saved_step, self.saved_time = self.cost.steps, time.monotonic()

    def note(self, figures: Values) -> None:
        """Add figures to the history, and to the run's directory."""
        known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
        record = {"step": self.cost.steps, **known}
        if self.attempt(f"The figures of step {self.cost.steps}", lambda directory: directory.log(record)):
            self.result.history.append(record)

    def attempt(self, what: str, write: Callable[[RunDirectory], None]) -> bool:
        """Write something into the directory, if there is one; the run pauses where the disk does not take it."""
        if self.directory is None:
            return True
        trouble = ""
        try:
            if self.place.first:
                write(self.directory)
        except OSError as error:
            trouble = str(error) or type(error).__name__
        if trouble := self.place.broadcast(trouble):
            self.result.status = "paused"
            self.result.reason = (
                f"{what} could not be written ({trouble}); the checkpoints in {self.directory.checkpoints} are intact. "
                f"Make room, then go on with: {self.directory.resumed_by}"
            )
        return not trouble

    def named_monitors(self) -> list[tuple[str, Monitor]]:
        """The monitors by position and name, as there may be several of a kind."""
        return [(f"{i}.{type(monitor).__name__}", monitor) for i, monitor in enumerate(self.monitors)]

    def state(self) -> Document:
        """Everything that a resumed run needs."""
        return {
            "method": self.method.state_dict(),
            "stepper": self.stepper.state_dict(),
            "source": _state_of(self.source),
            "monitors": {name: _state_of(monitor) for name, monitor in self.named_monitors()},
            "ledger": self.ledger.state_dict(),
            "generators": generator_states(self.device),
            # A shape that is counted is computed by torch's decompositions, whose last bits may differ.
            "flops": [[list(terms), list(shape), flops] for (terms, shape), flops in self.flops.items()],
            "terms": list(self.terms),
            "recorder": self.recorder.state_dict(),
            "probe": None if self.probe is None else dict(self.probe),
            "windows": self.windows,
            "seen_step": self.seen_step,
            "roll_backs": self.roll_backs,
            "records": [len(self.result.history), len(self.result.verdicts)],
            "validated_step": self.validated_step,
            "best": self.result.best,
            "best_weights": self.best_weights,
        }

    def load_learned(self, state: Values) -> None:
        """Take back what the method and the optimizer were at a checkpoint."""
        self.method.load_state_dict(state["method"])
        if self.method.regrouped or set(self.method.parameters()) != set(self.stepper.parameters):
            self.regroup()
        self.stepper.load_state_dict(state["stepper"])

    def load_course(self, state: Values, directory: RunDirectory) -> None:
        """Take back how far a run had come at a checkpoint."""
        _restore(self.source, state["source"])
        for name, monitor in self.named_monitors():
            # A run may be resumed with other monitors than it began with; they change nothing that is learned.
            _restore(monitor, state["monitors"].get(name))
        self.ledger.load_state_dict(state["ledger"])
        set_generator_states(state["generators"], self.device)
        self.flops = {(tuple(terms), tuple(shape)): flops for terms, shape, flops in state.get("flops", [])}
        self.terms = tuple(state.get("terms", ()))
        self.recorder.load_state_dict(state["recorder"])
        self.probe = None if state["probe"] is None else Batch(state["probe"]).to(self.device)
        self.windows, self.seen_step, self.roll_backs = state["windows"], state["seen_step"], state["roll_backs"]
        self.result.best, self.best_weights = state["best"], state["best_weights"]
        self.validated_step, self.saved_step = state["validated_step"], self.cost.steps
        self.result.history, self.result.verdicts = directory.rewind(*state["records"])


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever a state of something else leads to into a sentence."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, CheckpointError) as error:
        # What torch says of many tensors fills a page.
        detail = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{what} ({detail}); put back what the run began with, or begin anew.") from error


def _state_of(part: object) -> Any:
    return part.state_dict() if isinstance(part, Stateful) else None


def _restore(part: object, state: Any) -> None:
    if isinstance(part, Stateful) and state is not None:
        part.load_state_dict(state)
