"""The one loop: batches from a source, a loss from a method, steps, verdicts, checkpoints."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TypeVar

import torch
from torch import Tensor, nn

from didact.errors import CheckpointError, ConfigError
from didact.loop import checkpoint as ckpt
from didact.loop.devices import autocast, peak_memory
from didact.loop.flops import count_flops
from didact.loop.ledger import BATCHES, charge_labels
from didact.loop.progress import ProgressLine
from didact.loop.recorder import merge
from didact.loop.result import FitResult
from didact.loop.statistics import SharedStatistics
from didact.loop.together import reduce_gradients, reduce_terms
from didact.loop.training_state import TrainingState, explained
from didact.types import (
    LEVELS,
    LOWER_IS_BETTER,
    Batch,
    FeedbackSource,
    HeldOut,
    Method,
    Output,
    Terms,
    Verdict,
    Window,
)
from didact.types.frozen import load_module_state, module_state

T = TypeVar("T")

PROBE_SIZE = 128
PROBE_WINDOWS = 10
"""Monitors may probe the learner in every so manieth window."""
CHECKPOINT_SECONDS = 60.0
"""How often a run is saved where `checkpoint_every` does not say."""
SHOWN = 5
"""How many terms the progress line has room for."""
MAX_ROLL_BACKS = 3
ROLL_BACK_FACTOR = 0.5
"""What the learning rate is multiplied by at each roll-back."""


class Engine(TrainingState):
    """Carries a run out: takes steps, asks monitors, evaluates, and has its state kept."""

    # ---- the loop

    @property
    def going(self) -> bool:
        """Whether nothing has ended the run before its budget is used up."""
        return self.result.status == "done"

    def run(self, line: ProgressLine, stop: threading.Event) -> FitResult:
        """Take steps until the budget is used up, or something ends the run."""
        for module in self.method.modules().values():
            module.train()
        self.line = line
        if self.saved_step < 0 and any(getattr(m, "action", "") == "roll_back" for m in self.monitors):
            self.save()
        if self.going and self.cost.steps == 0 and self.validation is not None:
            self.validate()
        early = self.loop.patience is not None and not self.improves()
        clock = time.perf_counter()
        batches = charge_labels(self.source, self.method, self.ledger)
        while self.going and not early and (fraction := self.fraction) < 1.0:
            # A source may let the method collect a round, which is to know how far the run has come.
            self.method.step, self.method.fraction = self.cost.steps, fraction
            batch = next(batches, None)
            if batch is None:
                labels = self.budget.labels
                self.result.reason = f"The next batch would read more than the {labels} labels that may be read."
                break
            if getattr(self.source, "boundary", False):
                self.begin_phase()
            if self.device.type != "cpu":
                batch = batch.to(self.device)
            if self.probe is None:
                self.probe = Batch({k: t[:PROBE_SIZE].clone() for k, t in batch.check().items()})
            admitted = self.step(batch, fraction)
            now = time.perf_counter()
            self.cost.seconds += now - clock
            clock = now
            stopping, due = self.agree(stop)
            if not admitted or self.cost.steps % self.log_every == 0:
                self.review_window(admitted)
            if self.going:
                early = self.keep_house(stopping, due)
            line.update(fraction, self.cost.examples)
        if early and self.going:
            best, patience = self.result.best["step"], self.loop.patience
            self.result.reason = f"No evaluation has been better than that of step {best} for {patience} in a row."
        return self.finish()

    def step(self, batch: Batch, fraction: float) -> bool:
        """One optimizer step; False when it was not taken because a number was not finite."""
        self.rate = self.stepper.set_rates(fraction)
        terms = self.counted_gradients(batch)
        self.terms = tuple(terms)
        # Read before the step changes what they are computed from.
        rows = terms.rows(batch.size) if self.uses_feedback else None
        losses = self.recorder.add(terms)
        gradients = self.stepper.gradients(self.cost.steps)
        norm, admitted = self.guard.admit(gradients, losses)
        self.recorder.norms.append(norm)
        if admitted:
            self.stepper.advance(gradients)
        self.stepper.clear()
        if not admitted:
            return False
        self.method.after_step()
        for teacher in self.followers:
            teacher.follow(self.method.learner)
        if rows is not None and isinstance(self.source, FeedbackSource):
            self.source.feedback(batch, rows)
        if self.method.regrouped:
            self.regroup()
        cost = self.cost
        cost.steps += 1
        cost.examples += batch.size
        if "attention_mask" in batch:
            self.ledger.charge("student_tokens", batch["attention_mask"].numel(), BATCHES)
        return True

    @property
    def uses_feedback(self) -> bool:
        """Whether the source takes note of how its examples went."""
        return getattr(self.source, "uses_feedback", False)

    def begin_phase(self) -> None:
        """Tell the method that the data change, and let begin anew what the source restarts."""
        phase = getattr(self.source, "phase", None)
        if phase is not None:
            self.method.begin_phase(phase)
            if self.method.regrouped:
                self.regroup()
        if self.initial.kind != "no":
            self.initial.restore()
            self.stepper.restart()

    def counted_gradients(self, batch: Batch) -> Terms:
        """The gradients of a batch, its floating-point operations counted where its shape is a new one in its stage.

        A stage is known by the terms of the step before, so that its first step is charged as the stage before.
        """
        shape = tuple(batch["input_ids"].shape) if "input_ids" in batch else (batch.size,)
        key = self.terms, shape
        flops = self.flops.get(key)
        if flops is not None:
            self.cost.flops += flops
            return self.gradients(batch)
        found, counted = count_flops(lambda: self.gradients(batch), self.method.teachers())
        self.flops[key] = sum(self.place.gather_objects(counted))
        self.cost.flops += self.flops[key]
        return found

    def gradients(self, batch: Batch) -> Terms:
        """Compute the loss of a batch and its gradient, in one piece or in several."""
        if self.place.size > 1:
            return self.shared_gradients(batch)
        if self.loop.micro_batch is None or batch.size <= self.loop.micro_batch:
            with autocast(self.loop.precision, self.device):
                terms = self.method.loss(batch)
            self.stepper.backward(terms)
            return terms
        counts = self.method.counts(batch)
        parts = []
        for part in batch.split(self.loop.micro_batch):
            with autocast(self.loop.precision, self.device):
                terms = self.method.loss(part)
            self.stepper.backward(terms, counts)
            parts.append(terms.detach(rows=self.uses_feedback))
        merged = merge(parts)
        if self.cost.steps == 0:
            self.check_counts(counts, merged)
        return merged

    def shared_gradients(self, batch: Batch) -> Terms:
        """Compute the loss of this process's rows, and the gradient of all."""
        charges = self.ledger.gather_charges(self.place)
        with autocast(self.loop.precision, self.device), charges, SharedStatistics(self.place):
            terms = self.method.loss(mine := self.place.mine(batch))
        rows = (mine.size, batch.size if self.method.feed.coupled else mine.size) if self.uses_feedback else ()
        whole = reduce_terms(terms, self.place, rows)
        self.stepper.backward(terms, {name: term.count for name, term in whole.items()})
        reduce_gradients(self.stepper.stepped, self.place)
        return whole

    def check_counts(self, expected: Mapping[str, Tensor | float], found: Terms) -> None:
        """Refuse to cut batches for a method whose counts are not what it says beforehand; waits for the device."""
        for name, term in found.items():
            if float(expected[name]) != float(term.count):
                raise ConfigError(
                    f"micro_batch is {self.loop.micro_batch}, but the term {name!r} counted {float(term.count):g} "
                    f"where {float(expected[name]):g} were expected (a teacher that abstains?), so that a cut "
                    "batch would be weighed wrongly; leave micro_batch out."
                )

    # ---- looking

    def review_window(self, admitted: bool) -> None:
        """Read the figures of the window, ask the monitors, and act on what they say.

        Windows end after every so many steps, at a step that is not taken and at the end of the run: what monitors see
        depends on neither the clock nor on where a run was stopped.
        """
        self.stepper.check()
        if self.windows == 0 and self.directory is not None:
            self.attributes.check()
        halted = not admitted or self.guard.halted()
        losses, norms = self.recorder.read()
        if self.guard.halted():
            # The device left the weights alone from the first bad step on; those steps were not taken.
            self.cost.steps -= int((~torch.isfinite(losses["total"] + norms)).long().cumsum(0).count_nonzero())
        self.cost.peak_memory = max(self.cost.peak_memory, peak_memory(self.device))
        means = {name: _mean(values) for name, values in losses.items()}
        self.note(
            {
                "seconds": round(self.cost.seconds, 3),
                "examples": self.cost.examples,
                "lr": self.rate,
                "grad_norm": _mean(norms),
                **{f"{self.kind_of(name)}/{name}": mean for name, mean in means.items()},
            }
        )
        shown = [name for name in losses if name == "total" or len(losses) > 2][:SHOWN]
        self.line.update(self.fraction, self.cost.examples, {name: means[name] for name in shown})
        if not self.going:
            return
        probing = self.windows % PROBE_WINDOWS == 0 and not halted
        self.windows += 1
        since, self.seen_step = self.seen_step, self.cost.steps
        window = Window(
            step=self.cost.steps,
            losses=losses,
            grad_norm=norms,
            finite=not halted,
            probe=_once(self.answer_probe) if probing else None,
            held_out=_once(self.answer_held_out) if probing and self.teaches_itself else None,
            labels=_once(self.answer_labels) if probing and self.has_labels else None,
        )
        verdicts = [monitor.observe(window) for monitor in self.monitors]
        if halted and not any(v.level in ("pause", "roll_back", "stop") for v in verdicts):
            reason = f"At step {self.cost.steps} the loss or its gradient was not finite; the weights were not changed."
            verdicts.append(Verdict("stop", "loop", float(self.cost.steps), reason))
        self.apply_verdicts([v for v in verdicts if v.level != "ok"], since)

    def kind_of(self, term: str) -> str:
        """Under which heading a term is written: a loss, or a figure that is only looked at."""
        return "watched" if term in self.recorder.watched else "loss"

    def answer_probe(self) -> Output:
        """The delivered learner's answer on the probe batch, in evaluation mode."""
        assert self.probe is not None
        with _evaluating(self.method.delivered):
            return self.method.delivered(self.probe)

    @property
    def teaches_itself(self) -> bool:
        """Whether the method has pseudo-labels, and there are labels to compare them with."""
        there = self.validation is not None and self.validation.examples is not None
        return there and type(self.method).own_labels is not Method.own_labels

    def answer_held_out(self) -> HeldOut:
        """What the method teaches itself of validation examples, in evaluation mode."""
        assert self.validation is not None and self.validation.examples is not None
        batch = self.validation.examples.to(self.device)
        with _evaluating(*self.method.modules().values(), self.method.delivered):
            own = self.method.own_labels(batch)
            assert own is not None
            student = self.method.delivered(batch).logits.argmax(-1)
        return HeldOut(label=batch["label"].cpu(), said=own[0].cpu(), gate=own[1].cpu(), student=student.cpu())

    @property
    def has_labels(self) -> bool:
        """Whether there are some training and some validation labels to look at."""
        there = self.validation
        return there is not None and there.train is not None and there.examples is not None

    def answer_labels(self) -> tuple[Tensor, Tensor]:
        """Whether the delivered learner answers these labels as given, in evaluation mode."""
        assert self.validation is not None and self.validation.train is not None
        assert self.validation.examples is not None
        both = (batch.to(self.device) for batch in (self.validation.train, self.validation.examples))
        with _evaluating(self.method.delivered):
            train, validation = ((self.method.delivered(b).logits.argmax(-1) == b["label"]).cpu() for b in both)
        return train, validation

    def apply_verdicts(self, verdicts: list[Verdict], since: int) -> None:
        """Do what the most drastic verdict on the steps since `since` asks for."""
        for verdict in verdicts:
            self.result.verdicts.append((self.cost.steps, verdict))
            record = {"step": self.cost.steps, **asdict(verdict)}
            self.attempt(f"The verdict of step {self.cost.steps}", lambda folder, r=record: folder.verdict(r))
            self.line.say(f"step {self.cost.steps}: {verdict.monitor}: {verdict.reason}")
        worst = max(verdicts, key=lambda verdict: LEVELS.index(verdict.level), default=None)
        if worst is None or worst.level in ("ok", "warn"):
            return
        if worst.level == "roll_back" and self.roll_backs < MAX_ROLL_BACKS and self.roll_back(since):
            return
        self.result.status = "paused" if worst.level == "pause" else "stopped"
        self.result.reason = worst.reason

    def roll_back(self, since: int) -> bool:
        """Take the weights and the optimizer back to a checkpoint from before some steps, and halve the learning rate.

        The source goes on where it is, so that the batches that led here are not met again in the same state.
        Checkpoints from later are of weights that monitors object to, and go.
        """
        assert self.directory is not None
        factor = self.stepper.rate_factor * ROLL_BACK_FACTOR
        try:
            state, path, _ = ckpt.load_latest(self.directory.checkpoints, until=since)
            self.load_learned(state)
        except CheckpointError:
            return False
        if self.place.first:
            ckpt.drop_after(self.directory.checkpoints, since)
        self.guard.reset()
        self.roll_backs += 1
        self.stepper.rate_factor = factor
        self.line.say(f"Rolled back to {path.name}; the learning rate is {factor:g} of what it would be.")
        return True

    # ---- keeping house

    def agree(self, stop: threading.Event) -> tuple[bool, bool]:
        """Whether a signal asked the run to end, and whether it is time for a checkpoint: for all processes alike."""
        due = self.directory is not None and self.cost.steps != self.saved_step and self.save_is_due()
        if self.place.size == 1:
            return stop.is_set(), due
        self.cost.seconds, stopping, due = self.place.max((self.cost.seconds, float(stop.is_set()), float(due)))
        return stopping > 0, due > 0

    def keep_house(self, stopping: bool, due: bool) -> bool:
        """Evaluate, stop and save when it is time; whether the run is to end early, as nothing improves any more."""
        step, every, early = self.cost.steps, self.loop.evaluate_every, False
        if every is not None and step % every == 0 and step != self.validated_step:
            self.validate()
            early = self.loop.patience is not None and not self.improves()
        if stopping and self.going:
            self.result.status, self.result.reason = "interrupted", "A signal asked the run to end."
        # Where the device has left steps out since the last window, the next one will count them; see `finish`, too.
        elif due and self.fraction < 1.0 and not self.guard.halted():
            self.save()
        return early

    def improves(self) -> bool:
        """Whether the best evaluation is among the last ones, as many as `patience` says."""
        best = self.result.best
        if self.loop.patience is None or self.validation is None or not best:
            return True
        name = f"eval/{self.validation.metric}"
        later = sum(name in record and record["step"] > best["step"] for record in self.result.history)
        return later < self.loop.patience

    def save_is_due(self) -> bool:
        """Whether it is time for a checkpoint; the first comes after a step, with whatever that brings into being."""
        if self.saved_step < 0:
            return True
        if self.loop.checkpoint_every is None:
            return time.monotonic() - self.saved_time > CHECKPOINT_SECONDS
        return self.cost.steps % self.loop.checkpoint_every == 0

    def validate(self) -> None:
        """Evaluate the delivered learner, and keep its weights if it is the best so far and those are wanted."""
        assert self.validation is not None
        self.validated_step, metric = self.cost.steps, self.validation.metric
        # One process evaluates, and the others wait for its figures.
        self.ledger.open = False
        found = dict(self.validation.measure(self.method.delivered)) if self.place.first else {}
        self.ledger.open = True
        figures = self.place.broadcast(found)
        self.note({f"eval/{name}": value for name, value in figures.items()})
        if metric not in figures:
            raise ConfigError(f"metric is {metric!r}, but the evaluation gives {', '.join(figures) or 'nothing'}.")
        best = self.result.best
        if best and not _score(metric, figures) > _score(metric, best):
            return
        self.result.best = {**figures, "step": self.cost.steps}
        if self.validation.select == "best":
            state = module_state(self.method.delivered)
            self.best_weights = {
                name: kept.detach().to("cpu", copy=True) if isinstance(kept, Tensor) else kept
                for name, kept in state.items()
            }

    def finish(self) -> FitResult:
        """Read what is left, save, evaluate, and deliver. A run that was cut short keeps what is left for later."""
        if self.going and len(self.recorder):
            self.review_window(True)
        # Saved before what may take long: whoever goes on from there evaluates again, and writes that anew.
        if self.directory is not None and self.cost.steps != self.saved_step and not self.guard.halted():
            self.save()
        if self.going and self.validation is not None and self.validated_step != self.cost.steps:
            self.validate()
        if self.going and self.validation is not None and self.validation.select == "best":
            load_module_state(self.method.delivered, self.best_weights)
        self.cost.peak_memory = max(self.cost.peak_memory, peak_memory(self.device))
        self.ledger.open = False
        for module in self.method.modules().values():
            module.eval()
        return self.result

    def resume(self) -> None:
        """Take back the newest whole checkpoint of the run, or begin anew where it was killed before its first."""
        assert self.directory is not None
        if self.place.broadcast(not ckpt.list_checkpoints(self.directory.checkpoints)):
            self.directory.rewind()
            return
        state, path, complaints = ckpt.load_latest(self.directory.checkpoints)
        with explained(f"The checkpoint {path} is of another model or method"):
            self.load_learned(state)
        with explained(f"The checkpoint {path} is of another run"):
            self.load_course(state, self.directory)
        for complaint in complaints:
            said = f"{complaint} {path.name} is used."
            self.apply_verdicts([Verdict("warn", "checkpoint", float(self.cost.steps), said)], self.seen_step)


def _mean(values: Tensor) -> float:
    """The mean of those that are there; NaN where none is."""
    there = [value for value in values.tolist() if value == value]
    # Not fsum, which raises where infinities of both signs meet.
    return sum(there) / len(there) if there else math.nan


def _score(metric: str, figures: Mapping[str, float]) -> float:
    """How good figures are: more is better, and what is no number is worst."""
    value = -figures[metric] if metric in LOWER_IS_BETTER else figures[metric]
    return -math.inf if math.isnan(value) else value


@contextmanager
def _evaluating(*learners: nn.Module) -> Iterator[None]:
    """Keep learners in evaluation mode, without gradients, for a while."""
    modes = [(module, module.training) for learner in learners for module in learner.modules()]
    for learner in learners:
        learner.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        # Each as it was: a method may keep a part of its learner in evaluation mode.
        for module, training in modes:
            module.training = training


def _once(compute: Callable[[], T]) -> Callable[[], T]:
    found: list[T] = []

    def answer() -> T:
        if not found:
            found.append(compute())
        return found[0]

    return answer
