"""Runs on questions: a language model learns from the data's completions, or from its own rollouts."""

import dataclasses
from functools import partial
from pathlib import Path

import torch

from didact import hashing
from didact.documents import Values
from didact.experiment.config import RunConfig
from didact.experiment.material import Material, Run
from didact.learners import causal
from didact.learners.dropout import switch_off_dropout
from didact.materials.questions import baselines, worth
from didact.materials.questions.data import QuestionData, open_questions
from didact.materials.questions.evaluator import QuestionEvaluator
from didact.materials.questions.pretraining import pretraining_of
from didact.materials.questions.refusals import refusals
from didact.materials.questions.source import asked_of, source_of
from didact.materials.questions.trials import trials
from didact.materials.questions.verifying import open_verifier
from didact.parts import python
from didact.parts.part import ForQuestions, Part
from didact.teachers import committees

STUDENT = "student"
"""The folder of the delivered model in a run's directory."""


def _student(run: Run[QuestionData]) -> Part:
    """A causal language model, without dropout for methods that compare its probabilities."""
    config, feed = run.config, run.info.method_type.feed
    part = python.student_of(run.argument("student"), _purpose(config, "student"))
    if not (getattr(feed, "dropout", False) if config.dropout == "auto" else config.dropout == "on"):
        switch_off_dropout(part.model)
    if config.gradient_checkpointing:
        part.model.checkpoint_gradients()
    return part


def _teacher(run: Run[QuestionData]) -> Part:
    """A teacher of tokens."""
    purpose = dataclasses.replace(_purpose(run.config, "teacher"), student=run.student.model)
    part = python.teacher_of(run.argument("teacher"), purpose)
    measured = [one for one in committees(part.model) if one.weights == "skill" and not one.accuracies]
    if measured:
        worth.check_references(run)
    after = tuple(partial(worth.measure, one, run) for one in measured)
    return dataclasses.replace(part, settles=(*part.settles, *after))


def _purpose(config: RunConfig, role: str) -> ForQuestions:
    """The purpose that a student or a teacher is built for, with initial weights of its own."""
    dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
    return ForQuestions(seed=hashing.stream(config.seed, role), trust=config.trust, dtype=dtype)


def _ingredients(run: Run[QuestionData]) -> Values:
    """Student, teachers, and the training questions."""
    return {
        "learner": run.student.model,
        "teacher": run.teacher,
        "teachers": [teacher.model for teacher in run.teachers],
        "questions": run.data.train,
        "seed": hashing.stream(run.config.seed, "method"),
    }


def _save(run: Run[QuestionData], path: Path) -> None:
    """Write the delivered student as a directory for `from_pretrained`, adapters alone."""
    causal.save_causal(run.method.delivered, path / STUDENT, merge=False)


MATERIAL = Material[QuestionData](
    name="questions",
    log_every=10,
    clip_norm=1.0,
    weight_decay=0.0,
    open=open_questions,
    reads=lambda _config: "",
    student=_student,
    teacher=_teacher,
    verifier=open_verifier,
    extend_data=lambda run: run.data,
    ingredients=_ingredients,
    source=source_of,
    asked=asked_of,
    pretraining=pretraining_of,
    evaluator=QuestionEvaluator,
    refusals=refusals,
    trials=trials,
    deliver=lambda run: run.method.delivered,
    save=_save,
    baselines=baselines.applicable,
    baseline=baselines.evaluate,
)
