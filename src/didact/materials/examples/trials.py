"""The doctor's trials of a run on examples: the teacher predicts a few hundred, and nothing is trained."""

from collections.abc import Iterator

import torch

from didact import evaluation, hashing
from didact.experiment.checking import Check, Level, gradient_check, run_checks
from didact.experiment.material import Run, remarks_of
from didact.losses.labels.targets import distillation_loss
from didact.materials.examples import suspicious_labels, teacher_data
from didact.materials.examples.answers import logits_of
from didact.materials.examples.data import ExampleData, select_labelled
from didact.materials.examples.refusals import CHECKED
from didact.materials.examples.source import train_of
from didact.parts.part import Part
from didact.types import Examples, is_labelled

TOLERANCE = 1e-4
"""Maximal divergence of a teacher from itself."""
SURE = 0.999
NOVEL = 0.02
"""Nats of entropy, and of divergence from the labels, below both of which a teacher only repeats the labels."""


def trials(run: Run[ExampleData]) -> Iterator[Check]:
    """Check the labels, the student's first loss and the teachers' signals."""
    return run_checks({"labels": _labels, "student": _student, "teacher": _teachers}, run)


def _labels(run: Run[ExampleData]) -> Iterator[Check]:
    return suspicious_labels.contradictory(run.data.splits.train)


def _student(run: Run[ExampleData]) -> Iterator[Check]:
    method = run.method
    size = sum(p.numel() for p in method.delivered.parameters())
    batch = next(iter(run.source))
    method.learner.train()
    yield gradient_check(method, batch, f"{run.config.student}, {size:,} parameters")


def _teachers(run: Run[ExampleData]) -> Iterator[Check]:
    for teacher in run.teachers:
        yield from _teacher(teacher, run)


def _teacher(teacher: Part, run: Run[ExampleData]) -> Iterator[Check]:
    train = train_of(run)
    if run.priced:
        # It was asked about two examples before, and is asked nothing else here.
        yield from (Check("ok", "server", words) for words in remarks_of(teacher.model))
        return
    known = select_labelled(train) if run.data.has_labels else train
    batch = known.batch(slice(0, CHECKED))
    first, second = teacher.model.signal(batch), teacher.model.signal(batch)
    scores, again = logits_of(first), logits_of(second)
    apart = float(distillation_loss(scores, first, temperature=1.0).mean())
    level: Level = "ok" if abs(apart) <= TOLERANCE else "fail"
    yield Check(level, "self-taught", f"The teacher's divergence from itself is {abs(apart):.1g}; it must be 0.")
    if getattr(teacher.model, "frozen", False) and not torch.equal(scores, again):
        yield Check("warn", "answers", "Two calls of the teacher give different signals; only the first one is cached.")
    if teacher.warm_starts:
        epochs = run.config.teacher_epochs
        words = f"{teacher.spec} will be trained first, for {epochs} epochs on every training label."
        yield Check("ok", "teacher", words)
    elif scores.shape[-1] != train.outputs:
        yield Check("ok", "teacher", f"{teacher.spec} has classes of its own; its features are used.")
    elif run.data.has_labels:
        asked = known.select(torch.tensor(hashing.sample(known.size, CHECKED)))
        yield _skill(teacher, asked, scores)
        if known.task == "classification" and not teacher.control:
            yield from suspicious_labels.doubted(asked, scores)
        yield from _novelty(teacher, train, batch["label"], scores)
        yield from teacher_data.checks(run, teacher)


def _novelty(teacher: Part, train: Examples, label: torch.Tensor, scores: torch.Tensor) -> Iterator[Check]:
    """Whether a teacher's probabilities on labelled training examples say more than their labels."""
    if train.task != "classification" or teacher.control or not scores.is_floating_point():
        return
    found = scores.double().log_softmax(-1)
    entropy = float(-(found.exp() * found).nansum(-1).mean())
    sure = float((found.amax(-1).exp() > SURE).double().mean())
    apart = float(-found.gather(1, label[:, None]).mean())
    words = (
        f"On labelled training examples its probabilities have {entropy:.2g} nats of entropy ({sure:.0%} are above "
        f"{SURE}), and are {apart:.2g} nats away from the labels"
    )
    if entropy > NOVEL or apart > NOVEL:
        yield Check("ok", "teacher's targets", f"{words}.")
    elif bool((~is_labelled(train.tensors["label"])).any()):
        yield Check("ok", "teacher's targets", f"{words}: only examples without a label can teach more than labels do.")
    else:
        yield Check(
            "warn",
            "teacher's targets",
            f"{words}, so that they say what the labels say: distillation is plain training here. Take a teacher that "
            "was fitted on other rows or sees more, or add rows without labels.",
        )


def _skill(teacher: Part, known: Examples, scores: torch.Tensor) -> Check:
    label = known.tensors["label"]
    found = evaluation.metrics(evaluation.predictions_of(scores.cpu().float(), known))
    if known.task == "regression":
        r2 = found.get("r2", float("nan"))
        return Check(
            "ok" if r2 > 0 else "warn", "teacher", f"{teacher.spec} explains R2 = {r2:.3f} of training labels."
        )
    chance = float(label.bincount().max()) / label.numel()
    good = found["accuracy"] > chance or teacher.control
    words = f"{teacher.spec} is right on {found['accuracy']:.1%} of {label.numel()} training labels"
    advice = "" if good else "; always predicting the most frequent class would do as well"
    return Check("ok" if good else "warn", "teacher", f"{words}{advice}.")
