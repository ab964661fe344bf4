"""The doctor's trials of a run on examples: the teacher predicts a few hundred, and nothing is trained."""

from collections.abc import Iterator

import torch

from didact import evaluation, hashing
from didact.experiment.checking import Check, gradient_check, run_checks
from didact.experiment.material import Run, remarks_of
from didact.losses.labels.targets import distillation_loss
from didact.materials.examples import columns, overlaps, suspicious_labels, teacher_data, teacher_inputs
from didact.materials.examples.answers import logits_of
from didact.materials.examples.data import ExampleData, select_labelled
from didact.materials.examples.refusals import CHECKED
from didact.materials.examples.source import train_of
from didact.parts.part import Part
from didact.types import Batch, Examples, is_labelled, pixel_labels

TOLERANCE = 1e-4
"""Maximal divergence of a teacher from itself."""
MASKS = 16
"""Images with masks that a teacher is asked about."""
SURE = 0.999
UNIT = 0.2
"""By how much a teacher in another unit would explain more of the labels."""
NOVEL = 0.02
"""Nats of entropy, and of divergence from the labels, below both of which a teacher only repeats the labels."""


def trials(run: Run[ExampleData]) -> Iterator[Check]:
    """Check the labels, the student's first loss and the teachers' signals."""
    return run_checks({"labels": _labels, "inputs": _inputs, "student": _student, "teacher": _teachers}, run)


def _labels(run: Run[ExampleData]) -> Iterator[Check]:
    train = run.data.splits.train
    yield from suspicious_labels.contradictory(train)
    yield from suspicious_labels.far(train)


def _inputs(run: Run[ExampleData]) -> Iterator[Check]:
    yield from columns.checks(run.data.splits.train)
    yield from overlaps.checks(run.data.splits)


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
        # It was asked about a batch before, and is asked nothing else here.
        yield from (Check("pass", "server", words) for words in remarks_of(teacher.model))
        if silent := getattr(teacher.model, "abstained", {}):
            words = f"The teacher abstained on {len(silent)} examples: it {next(iter(silent.values()))}. Look at its "
            yield Check("warn", "server", f"{words}answers, and give another model, instruction or max_tokens.")
        return
    known = select_labelled(train) if run.data.has_labels else train
    asked = known.select(torch.tensor(hashing.sample(known.size, MASKS if known.task == "segmentation" else CHECKED)))
    batch = asked.batch()
    first, second = teacher.model.signal(batch), teacher.model.signal(batch)
    scores, again = logits_of(first), logits_of(second)
    apart = float(distillation_loss(scores, first, temperature=1.0).mean())
    good = abs(apart) <= TOLERANCE
    words = f"The teacher's divergence from itself is {abs(apart):.1g}"
    advice = "; it must be 0. Give a teacher whose signals are logits, or probabilities that add up to 1"
    yield Check("pass" if good else "fail", "self-taught", f"{words}{'' if good else advice}.")
    if getattr(teacher.model, "frozen", False) and not torch.equal(scores, again):
        words = "Two calls of the teacher give different signals, of which only the first is cached. Switch off its "
        yield Check("warn", "answers", f"{words}dropout and other draws, as eval() does for a module.")
    if teacher.warm_starts:
        epochs = run.config.teacher_epochs
        words = f"{teacher.spec} will be trained first, for {epochs} epochs on every training label."
        yield Check("pass", "teacher", words)
    elif scores.shape[-1] != train.outputs:
        yield Check("pass", "teacher", f"{teacher.spec} has classes of its own; its features are used.")
    elif run.data.has_labels:
        yield _skill(teacher, asked, scores)
        yield from teacher_inputs.checks(teacher, asked, scores)
        yield from _same(run.student.model, teacher, batch, scores)
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
        yield Check("pass", "teacher's targets", f"{words}.")
    elif bool((~is_labelled(train.tensors["label"])).any()):
        yield Check(
            "pass", "teacher's targets", f"{words}: only examples without a label can teach more than labels do."
        )
    else:
        yield Check(
            "warn",
            "teacher's targets",
            f"{words}, so that they say what the labels say: distillation is plain training here. Take a teacher that "
            "was fitted on other rows or sees more, or add rows without labels.",
        )


def _skill(teacher: Part, known: Examples, scores: torch.Tensor) -> Check:
    label = known.tensors["label"]
    if known.task == "regression":
        r2 = evaluation.metrics(evaluation.predictions_of(scores.cpu().float(), known)).get("r2", float("nan"))
        return _explained(teacher, scores[:, 0].double().cpu(), label.double().cpu(), r2)
    if known.task == "segmentation":
        label = pixel_labels(known.tensors)
    there = is_labelled(label)
    right = float((scores.argmax(-1).cpu() == label)[there].double().mean())
    chance = float(label[there].bincount().max()) / int(there.sum())
    good = right > chance or teacher.control
    of = "pixels of training masks" if known.task == "segmentation" else "training labels"
    words = f"{teacher.spec} is right on {right:.1%} of {int(there.sum())} {of}"
    advice = (
        "; always predicting the most frequent class would do as well. Look at what it was fitted on, and whether it "
        "is given its inputs as it knows them"
    )
    return Check("pass" if good else "warn", "teacher", f"{words}{'' if good else advice}.")


def _explained(teacher: Part, answers: torch.Tensor, label: torch.Tensor, r2: float) -> Check:
    """How well a teacher's numbers [N] explain labels [N], and whether they would in another unit."""
    words = f"{teacher.spec} explains R2 = {r2:.3f} of training labels"
    follows = float(torch.corrcoef(torch.stack([answers, label]))[0, 1]) if answers.var() > 0 else 0.0
    if follows**2 > max(r2, 0.0) + UNIT and not teacher.control:
        advice = (
            f", but its answers go with them (correlation {follows:.2f}): they are in another unit, such as standard "
            "deviations of its own training labels. Give a teacher that answers in the unit of the target"
        )
        return Check("warn", "teacher", f"{words}{advice}.")
    if r2 > 0 or teacher.control:
        return Check("pass", "teacher", f"{words}.")
    return Check("warn", "teacher", f"{words}; their mean would do better. Look at what it was fitted on.")


@torch.no_grad()
def _same(student: torch.nn.Module, teacher: Part, batch: Batch, scores: torch.Tensor) -> Iterator[Check]:
    """Warn of a student that says what its teacher says before it is taught."""
    training = student.training
    mine = student.eval()(batch).logits
    student.train(training)
    if mine.shape == scores.shape and torch.allclose(mine.cpu(), scores.cpu(), atol=1e-5):
        words = f"{teacher.spec} says what the student says already, so that it teaches nothing; give another teacher."
        yield Check("warn", "teacher", words)
