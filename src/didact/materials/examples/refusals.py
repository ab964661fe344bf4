"""Checks of a run on examples before any compute is spent on it."""

from collections.abc import Iterator

import torch

from didact import hashing
from didact.curricula import Among, LabelledMix
from didact.errors import ConfigError, TeacherError
from didact.evaluation import predict
from didact.experiment.checking import Check, run_checks
from didact.experiment.material import Run
from didact.materials.examples import segmentation
from didact.materials.examples.answers import as_learner, logits_of
from didact.materials.examples.data import ExampleData, select_labelled
from didact.materials.examples.source import feed_of, source_of, train_of
from didact.materials.examples.teacher_data import find_seen, is_fitted_elsewhere
from didact.parts.part import Part
from didact.teachers import committees, suspicious_order
from didact.types import Examples, Features, Labels, is_labelled, pixels_of

CHECKED = 256
"""Labelled training examples on which a teacher's order of classes is checked."""


def refusals(run: Run[ExampleData]) -> Iterator[Check]:
    """Check the task, the batches, warm starts, and the teacher's signal."""
    stages = {
        "method": _task,
        "batches": _batches,
        "warm start": _goals,
        "teacher": _teachers,
    }
    return run_checks(stages, run)


def _task(run: Run[ExampleData]) -> None:
    """Check that the method supports the task of the data, and that without any label one finished teacher answers."""
    tasks, examples = feed_of(run).tasks, run.data.examples
    if examples.task == "segmentation":
        segmentation.refuse(run.info, run.student, run.config.student, train_of(run))
    elif examples.task not in tasks:
        raise ConfigError(
            f"The method {run.info.name!r} is for {' and '.join(tasks)}, but the data {examples.name!r} are a "
            f"{examples.task}; choose another method, or give task='{tasks[0]}' if they are one."
        )
    if not any(weight.requires_grad for weight in run.student.model.parameters()):
        raise ConfigError(
            f"student is {run.config.student!r}, which has nothing to train; give a net such as mlp:64, or leave it to "
            "`didact compress`, which fits decision trees too."
        )
    if run.config.data.made_up and not feed_of(run).unlabelled:
        raise ConfigError(
            f"made_up is {run.config.data.made_up:g}, but the method {run.info.name!r} learns from labels alone, which "
            "made-up rows have none of; leave it out, or choose a method such as distill."
        )
    if feed_of(run).adapts:
        _adapted(run)
    elif not run.data.has_labels and (len(run.teachers) != 1 or any(part.warm_starts for part in run.parts.values())):
        raise ConfigError(
            f"No example of {examples.name!r} has a label, so that nothing can be trained before the run; give one "
            "teacher that is trained already, or labels."
        )


def _adapted(run: Run[ExampleData]) -> None:
    """Check that a student that is to be adapted has learned something before."""
    if not (run.student.origin or run.student.warm_starts or run.objects.student is not None):
        raise ConfigError(
            f"student is {run.config.student!r}, which has learned nothing that {run.info.name!r} could adapt; give a "
            "finished run, such as run:runs/NAME, or train one first, as in warm:500:cnn:16,32."
        )


def _classes(run: Run[ExampleData]) -> None:
    """Check that class weights and balanced draws have classes, and a loss that reads the weights."""
    batches, task = run.config.batches, run.data.examples.task
    for field, value in (("class_weights", batches.class_weights), ("sampler", batches.sampler)):
        if value == "balanced" and task != "classification":
            raise ConfigError(f"{field} is 'balanced', but the data are a {task}, without classes; leave it out.")
    reads = "label_weight" in run.info.path.read_text(encoding="utf-8")
    if batches.class_weights == "balanced" and not (reads and feed_of(run).labels):
        raise ConfigError(
            f"class_weights is 'balanced', but the method {run.info.name!r} has no loss of labels that reads them; use "
            "sampler='balanced', or a method such as supervised or distill."
        )


def _batches(run: Run[ExampleData]) -> None:
    """Check that each batch has enough examples to compare, also the last one of each epoch."""
    if "balanced" in (run.config.batches.class_weights, run.config.batches.sampler):
        _classes(run)
    train, source, size = train_of(run), source_of(run), run.config.batches.size
    least, left = feed_of(run).least_batch, train.size % source.batch_size
    mixed = isinstance(source.curriculum, LabelledMix)
    left = 0 if isinstance(source.curriculum, Among) else left
    if mixed and size == 1:
        raise ConfigError(
            f"batch_size is 1, so that no batch has both a labelled and an unlabelled example, as {run.info.name!r} "
            "needs; 2 would work, and more would be better."
        )
    if source.batch_size >= least and (mixed or not left or left >= least):
        return
    sizes = range(max(least, size), train.size)
    fits = next((size for size in sizes if train.size % size not in range(1, least)), train.size)
    few = "is too few" if source.batch_size < least else f"leaves {left} over at the end of each pass"
    raise ConfigError(
        f"batch_size is {size}, which {few} of {train.size} training examples: the method {run.info.name!r} compares "
        f"the examples of a batch, and needs {least} or more; {fits} would work."
    )


def _goals(run: Run[ExampleData]) -> None:
    """Check that the accuracy of a warm start can be measured."""
    for role, part in run.parts.items():
        for warm_start in part.warm_starts:
            if warm_start.goal and not select_labelled(run.data.splits.validation).size:
                raise ConfigError(
                    f"{role} is {warm_start.spec!r}, but without validation examples nobody can tell when it is right "
                    "often enough; give some, or a number of steps, as in warm:500:mlp:64."
                )


def _teachers(run: Run[ExampleData]) -> None:
    """Check that the teachers predict the data's own classes, in the data's order, and that their rows can be read."""
    if run.config.teacher_data is not None:
        if not any(map(is_fitted_elsewhere, run.teachers)):
            raise ConfigError(
                f"teacher_data is {run.config.teacher_data!r}, but no teacher comes from elsewhere; leave it out."
            )
        find_seen(run, run.data.splits.test)
    if not feed_of(run).labels and any(
        part.weights == "agreement" for teacher in run.teachers for part in committees(teacher.model)
    ):
        raise ConfigError(
            f"teacher is {run.config.teacher!r}, a committee that weighs its members by labels, but the method "
            f"{run.info.name!r} reads none; weigh them by skill, or choose a method such as distill."
        )
    for teacher in run.teachers:
        _check_answers(teacher, run)
        # A teacher with a price is asked about classes by name, whose order can't be another.
        if feed_of(run).teacher != "features" and getattr(teacher.model, "embeds", True) and not run.priced:
            _check_order(teacher, train_of(run))


def _check_answers(teacher: Part, run: Run[ExampleData]) -> None:
    """Check the teacher's signal on two examples before anything is trained."""
    features, train = feed_of(run).teacher == "features", train_of(run)
    if teacher.target and not features:
        raise TeacherError(
            f"teacher is {teacher.spec!r}, which predicts {teacher.target}, but the method {run.info.name!r} needs a "
            f"teacher of the data's own classes; give one, such as {teacher.spec.split(':', 2)[-1]}."
        )
    few = train.batch(slice(0, 2))
    signal = teacher.model.signal(pixels_of(few) if train.task == "segmentation" else few)
    if features or (isinstance(signal, Labels) and signal.labels.dtype == torch.int64):
        return
    encodes = isinstance(signal, Features) and signal.logits is None
    if encodes and train.task != "embedding" and hasattr(run.options, "teacher_tap"):
        return
    if (train.task == "embedding") != encodes:
        told = "makes no embeddings" if train.task == "embedding" else "is an encoder, which tells no classes"
        raise TeacherError(
            f"teacher is {teacher.spec!r}, which {told}; to learn embeddings, give task='embedding' (--embeddings) and "
            f"an encoder; to learn classes, a teacher that tells them, or a method with teacher_tap, as relational."
        )
    if train.task == "segmentation":
        segmentation.refuse_shape("teacher", teacher.spec, logits_of(signal).shape[0], few)
    width, wanted = logits_of(signal).shape[-1], train.outputs
    if width != wanted:
        raise TeacherError(
            f"teacher is {teacher.spec!r}, which gives {width} numbers for an example, but the data have "
            + (f"{wanted} classes: {', '.join(train.classes)}." if wanted > 1 else "one number to predict.")
            + " Give a teacher of the same classes."
        )


def _check_order(teacher: Part, train: Examples) -> None:
    """Refuse a teacher whose outputs fit the labels far better in another order of classes."""
    if teacher.control or teacher.warm_starts or train.task not in ("classification", "segmentation"):
        return
    known = select_labelled(train)
    if not known.size:
        return
    known = known.select(torch.tensor(hashing.sample(known.size, CHECKED)))
    answers = predict(as_learner(teacher.model), known, batch_size=CHECKED)
    there = is_labelled(answers.labels)
    complaint = suspicious_order(answers.logits[there], answers.labels[there], train.classes)
    if complaint is not None:
        raise TeacherError(f"teacher is {teacher.spec!r}. {complaint}")
