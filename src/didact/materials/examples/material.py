"""Runs on examples: a student learns to predict labels, from labels and teachers."""

import dataclasses
from pathlib import Path

from didact import hashing
from didact.documents import Values
from didact.experiment import records
from didact.experiment.config import RunConfig
from didact.experiment.material import Material, Run
from didact.learners import export
from didact.loop.optimizer import DECAY
from didact.materials.examples import baselines, suspects
from didact.materials.examples.caching import add_cache, asked_of
from didact.materials.examples.data import ExampleData, extend, open_examples, select_labelled
from didact.materials.examples.embedding import EmbeddingEvaluator
from didact.materials.examples.evaluator import ExampleEvaluator
from didact.materials.examples.pretraining import pretraining_of
from didact.materials.examples.refusals import refusals
from didact.materials.examples.shown_views import shown_masks, shown_views
from didact.materials.examples.source import feed_of, sample_of, source_of, train_of
from didact.materials.examples.trials import trials
from didact.memory import JudgesLabels
from didact.parts import parse, python, saved
from didact.parts.part import ForExamples, Part, brought_by
from didact.parts.student import Student
from didact.types import MASK, Examples, pixels_of


def _student(run: Run[ExampleData]) -> Part:
    """A net for the data's input shape and classes."""
    adapts = feed_of(run).adapts and bool(run.data.labelled.size)
    known = run.data.labelled if adapts else train_of(run)
    return python.student_of(run.argument("student"), _purpose(run, known, "student"))


def _teacher(run: Run[ExampleData]) -> Part:
    """A teacher of examples."""
    purpose = dataclasses.replace(
        _purpose(run, run.data.examples, "teacher"),
        student=run.student.model,
        validation=lambda: select_labelled(run.data.splits.validation),
    )
    return python.teacher_of(run.argument("teacher"), purpose)


def _purpose(run: Run[ExampleData], examples: Examples, role: str) -> ForExamples:
    """The purpose that a student or a teacher is built for, with initial weights of its own."""
    config = run.config
    seed = hashing.stream(config.seed, role)
    return ForExamples(
        examples=examples,
        seed=seed,
        trust=config.trust,
        max_length=config.data.max_length,
        fingerprint=lambda: run.data.fingerprint,
    )


def _ingredients(run: Run[ExampleData]) -> Values:
    """Student and spawned students, teachers behind caches, and a few examples."""
    train = train_of(run)
    masks = train.task == "segmentation"
    teachers = [add_cache(teacher.model, run) for teacher in run.teachers]
    return {
        "learner": run.student.model,
        "teacher": teachers[0] if len(teachers) == 1 else None,
        "teachers": teachers,
        "sample": pixels_of(sample_of(run)) if masks else sample_of(run),
        "examples": train,
        "size": train.tensors[MASK].numel() if masks else train.size,
        "spawn": python.Spawn(run.argument("student"), _purpose(run, train, "student")),
        "seed": hashing.stream(run.config.seed, "method"),
    }


def _save(run: Run[ExampleData], path: Path) -> None:
    """Write the student as the directory `student`, some examples in the run's views, and the labels that it doubts."""
    saved.save(_deliver(run), path / saved.STUDENT)
    masks = run.data.examples.task == "segmentation"
    if views := shown_masks(run) if masks else shown_views(run):
        records.write_json(path / "views.json", views)
    if isinstance(run.method, JudgesLabels):
        suspects.write(run, path / suspects.FILE)


def _deliver(run: Run[ExampleData]) -> Student:
    """The delivered net, with what it needs to predict rows as they come."""
    learner, examples, config = run.method.delivered, run.data.examples, run.config
    same = learner.state_dict().keys() == run.method.learner.state_dict().keys()
    spec = config.student if same and not config.student.startswith("<") else None
    like = export.blank_examples(export.describe(examples))
    text = examples.modality == "text" and not config.student.startswith("<")
    tokenizer = brought_by(parse(config.student, "student"), like.shape[0])[0] if text else None
    return Student(learner=learner, like=like, spec=spec, tokenizer=tokenizer)


def _reads(config: RunConfig) -> str:
    """The spec that decides the tokenizer and the preprocessing, if the student has its own."""
    walk = () if config.student.startswith("<") else parse(config.student, "student").walk()
    return config.student if any(spec.kind in ("hf", "run") for spec in walk) else ""


MATERIAL = Material[ExampleData](
    name="examples",
    log_every=50,
    clip_norm=0.0,
    weight_decay=DECAY,
    open=open_examples,
    reads=_reads,
    student=_student,
    teacher=_teacher,
    verifier=lambda _run: None,
    extend_data=extend,
    ingredients=_ingredients,
    source=source_of,
    asked=asked_of,
    pretraining=pretraining_of,
    evaluator=lambda run: (EmbeddingEvaluator if run.data.examples.task == "embedding" else ExampleEvaluator)(run),
    refusals=refusals,
    trials=trials,
    deliver=_deliver,
    save=_save,
    baselines=baselines.applicable,
    baseline=baselines.evaluate,
    method_type=lambda run: run.data.method_type(run.info.method_type),
)
