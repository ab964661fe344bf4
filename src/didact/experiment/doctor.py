"""Checks of a set-up that cost seconds, before one that costs hours is begun."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from didact import evaluation
from didact.errors import DidactError
from didact.experiment import data as data_of
from didact.experiment import judging, records, students, teachers
from didact.experiment.checking import Check, Level, gradient_check, guarded
from didact.experiment.config import RunConfig
from didact.experiment.data import Data
from didact.experiment.preparing import CHECKED, Objects, Prepared, is_language, prepare
from didact.learners import outputs_of
from didact.loop.devices import find_device
from didact.losses.labels.targets import imitate
from didact.types import Cost, Examples

FEW = 5
"""A class with fewer test examples than this makes its figures a matter of luck."""
ROOM = 1 << 30
"""Bytes of free disk below which a run may not be able to keep its checkpoints."""
TOLERANCE = 1e-4
"""How far a teacher may be from itself."""


def diagnose(config: RunConfig, objects: Objects | None = None) -> list[Check]:
    """Look for what would make a run fail, or its figures worthless.

    Nothing is trained and nothing is written. The teacher is asked about a few hundred examples.

    Args:
        config: the run's.
        objects: what is given from Python instead.

    Returns:
        The checks, in the order in which they were made; after a failure those that depend on it are left out.
    """
    objects = objects or Objects()
    checks: list[Check] = []
    guarded(checks, "machine", lambda: _machine(config))
    try:
        language = is_language(config)
    except DidactError as error:
        return [*checks, Check("method", "fail", str(error))]
    if language:
        from didact.experiment import language_doctor

        language_doctor.look(config, objects, checks)
        return checks
    found: list[Any] = []
    if guarded(checks, "data", lambda: _data(config, objects, found)):
        guarded(checks, "set-up", lambda: _set_up(config, objects, found[0], found))
    for prepared in found[1:]:
        guarded(checks, "learner", lambda prepared=prepared: _learner(prepared))
        if prepared.opened is not None:
            guarded(checks, "teacher", lambda prepared=prepared: _teacher(prepared))
    return checks


def _machine(config: RunConfig) -> Iterator[Check]:
    device = find_device(config.device)
    yield Check("device", "ok", f"{device}, {torch.get_num_threads()} threads.")
    place = next(p for p in (records.RUNS, Path.cwd()) if p.exists())
    free = shutil.disk_usage(place).free
    level: Level = "ok" if free >= ROOM else "warn"
    yield Check("disk", level, f"{free / (1 << 30):.1f} GiB free in {place.resolve()}.")


def _data(config: RunConfig, objects: Objects, found: list[Any]) -> Iterator[Check]:
    data = data_of.open_data(config, objects.data, students.tokenizer_of(config.learner, config.max_length))
    found.append(data)
    examples = data.examples
    shown = f"{len(examples.classes)} classes" if examples.classes else "a regression"
    yield Check("data", "ok", f"{examples.size:,} examples of {examples.name} ({examples.modality}), {shown}.")
    sizes = ", ".join(f"{part.size:,} {name}" for name, part in data.splits)
    yield Check("splits", "ok", f"{sizes}; {data_of.count_labels(data.train):,} training labels are used.")
    yield from _classes(data)
    if data.duplicates:
        detail = f"{len(data.duplicates)} inputs are in two splits: {data.duplicates[0]} Remove one of each."
        yield Check("duplicates", "warn", detail)
    else:
        yield Check("duplicates", "ok", "No input is in two splits.")
    if examples.modality == "text":
        yield _texts(examples, config)


def _classes(data: Data) -> Iterator[Check]:
    if not data.examples.classes:
        return
    label = data_of.labelled(data.splits.test).tensors["label"]
    counts = label.bincount(minlength=len(data.examples.classes)).tolist()
    rare = [name for name, count in zip(data.examples.classes, counts, strict=True) if count < FEW]
    if rare:
        detail = f"Fewer than {FEW} test examples of: {', '.join(rare[:8])}; their figures are a matter of luck."
        yield Check("classes", "warn", detail)
    else:
        yield Check("classes", "ok", f"{min(counts)} to {max(counts)} test examples a class.")


def _texts(examples: Examples, config: RunConfig) -> Check:
    mask = examples.tensors["attention_mask"]
    lengths = mask.sum(1)
    cut = float((lengths >= config.max_length).double().mean())
    words = f"{examples.vocabulary} token ids, {int(lengths.median())} tokens in the middle text; {cut:.0%} are cut."
    return Check("tokens", "warn" if cut > 0.1 else "ok", words + (" Raise max_length." if cut > 0.1 else ""))


def _set_up(config: RunConfig, objects: Objects, data: Data, found: list[Any]) -> Iterator[Check]:
    prepared = prepare(config, objects, data=data, train_teacher=False)
    found.append(prepared)
    limits = ", ".join(f"{amount:g} {axis}" for axis, amount in prepared.budget.limits().items())
    yield Check("method", "ok", f"{prepared.info.name}: {prepared.info.title} Budget: {limits}.")


def _learner(prepared: Prepared) -> Iterator[Check]:
    method = prepared.method
    size = sum(p.numel() for p in method.delivered.parameters())
    batch = next(iter(prepared.source))
    method.learner.train()
    yield gradient_check(method, batch, f"{prepared.config.learner}, {size:,} parameters")


def _teacher(prepared: Prepared) -> Iterator[Check]:
    opened, train = prepared.opened, prepared.train
    assert opened is not None
    for run in opened.trained_in:
        leak = judging.teacher_leak(run, prepared)
        if leak is not None:
            yield Check("leakage", "warn", leak)
    known = data_of.labelled(train)
    batch = known.batch(slice(0, CHECKED))
    first, second = opened.teacher.signal(batch), opened.teacher.signal(batch)
    scores, again = teachers.logits_of(first), teachers.logits_of(second)
    opened.teacher.cost = Cost()
    apart = float(imitate(scores, first, temperature=1.0).mean())
    level: Level = "ok" if abs(apart) <= TOLERANCE else "fail"
    yield Check("self-taught", level, f"The teacher is {abs(apart):.1g} from itself; it must be 0.")
    if getattr(opened.teacher, "frozen", False) and not torch.equal(scores, again):
        yield Check("answers", "warn", "Asked twice, the teacher answers differently; only its first answer is kept.")
    if opened.untrained:
        epochs = prepared.config.teacher_epochs
        yield Check(
            "teacher", "ok", f"{opened.spec} will be trained first, for {epochs} epochs on every training label."
        )
        return
    if scores.shape[-1] != outputs_of(train):
        yield Check("teacher", "ok", f"{opened.spec} has classes of its own; its features are used.")
        return
    yield _skill(opened, known.select(torch.arange(min(CHECKED, known.size))), scores)


def _skill(opened: teachers.Opened, known: Examples, scores: torch.Tensor) -> Check:
    label = known.tensors["label"]
    found = evaluation.metrics(
        evaluation.Predictions(logits=scores.cpu().float(), labels=label, task=known.task, classes=known.classes)
    )
    if known.task == "regression":
        r2 = found.get("r2", float("nan"))
        return Check("teacher", "ok" if r2 > 0 else "warn", f"{opened.spec} explains R2 = {r2:.3f} of training labels.")
    chance = float(label.bincount().max()) / label.numel()
    good = found["accuracy"] > chance or opened.control
    words = f"{opened.spec} is right on {found['accuracy']:.1%} of {label.numel()} training labels"
    advice = "" if good else "; always naming the commonest class would do as well"
    return Check("teacher", "ok" if good else "warn", f"{words}{advice}.")
