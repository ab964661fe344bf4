"""Runs on examples: a student learns to tell labels, from labels and teachers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from didact import health
from didact.evaluation import ArmResult
from didact.experiment.checking import Check
from didact.experiment.config import RunConfig
from didact.experiment.lessons import Lesson
from didact.experiment.material import Judge, Run
from didact.learners import export
from didact.materials.examples import baselines, lessons, refusals, source, trials
from didact.materials.examples.caching import cached
from didact.materials.examples.data import ExampleData, open_examples, with_tokens
from didact.materials.examples.judge import ExampleJudge
from didact.materials.examples.lessons import SEED
from didact.materials.examples.source import train_of
from didact.parts import parse, python
from didact.parts.part import ForExamples, Part, Warmup, tokenizer_of
from didact.parts.saved import STUDENT
from didact.types import Examples, Source


class ExampleMaterial:
    """A `Material`; see there."""

    name = "examples"
    fields = (
        *("target", "id_column", "text_column", "task", "impute", "image_size", "skip_bad", "max_length"),
        *("labels", "labelled_share", "augment"),
    )
    monitors = health.EXAMPLE_MONITORS
    log_every = 50

    def open(self, config: RunConfig, given: Any) -> ExampleData:
        """Examples from a file, a folder, a world or Python, in the tokens that the student reads."""
        # A student from Python brings no tokenizer.
        known = None if config.student.startswith("<") else parse(config.student, "student")
        return open_examples(config, given, known and tokenizer_of(known, config.data.max_length))

    def reads(self, config: RunConfig) -> str:
        """The student's tokenizer, where it brings one."""
        return config.student if config.student.startswith("hf:") else ""

    def student(self, run: Run[ExampleData]) -> Part:
        """A net for inputs of that shape, and the data's classes."""
        return python.student_of(run.given("student"), _purpose(run, train_of(run)))

    def teacher(self, run: Run[ExampleData]) -> Part:
        """Whatever says something of an example."""
        # Another seed than the student's, so that a teacher of its kind begins with other weights.
        purpose = _purpose(run, run.data.examples).with_seed(run.config.seed + SEED)
        return python.teacher_of(run.given("teacher"), purpose)

    def verifier(self, run: Run[ExampleData]) -> None:
        """None: labels are compared."""

    def seen(self, run: Run[ExampleData]) -> ExampleData:
        """With the tokens of teachers that read text in another way."""
        return with_tokens(run.data, run.teachers)

    def ingredients(self, run: Run[ExampleData]) -> Mapping[str, Any]:
        """The student and others like it, its teachers behind caches, and a few examples."""
        return {
            "learner": run.student.model,
            "teacher": None if run.teacher is None else cached(run.teacher, run),
            "teachers": [cached(teacher.model, run) for teacher in run.teachers],
            "sample": source.sample_of(run),
            "size": train_of(run).size,
            "spawn": python.Spawn(run.given("student"), _purpose(run, train_of(run))),
            "seed": run.config.seed,
        }

    def source(self, run: Run[ExampleData]) -> Source:
        """Batches of examples."""
        return source.source_of(run)

    def lesson(self, run: Run[ExampleData], role: str, warmup: Warmup) -> Lesson:
        """Supervised training."""
        return lessons.lesson_of(run, role, warmup)

    def judge(self, run: Run[ExampleData]) -> Judge:
        """By predictions for the test examples."""
        return ExampleJudge(run)

    def refusals(self, run: Run[ExampleData]) -> Iterator[Check]:
        """The task, batches, the budget and what the teachers answer."""
        return refusals.refusals(run)

    def trials(self, run: Run[ExampleData]) -> Iterator[Check]:
        """The first loss, and the teachers' answers."""
        return trials.trials(run)

    def keep(self, run: Run[ExampleData], path: Path) -> None:
        """As `student.safetensors`."""
        student = run.method.delivered
        same = student.state_dict().keys() == run.method.learner.state_dict().keys()
        spec = run.config.student if same and not run.config.student.startswith("<") else None
        export.export(student, path / STUDENT, to="safetensors", examples=run.data.examples, spec=spec)

    def baselines(self, data: ExampleData, config: RunConfig) -> tuple[str, ...]:
        """Linear models, trees and label spreading."""
        return baselines.fitting(data)

    def baseline(self, name: str, data: ExampleData, config: RunConfig) -> ArmResult:
        """Fitted on the labels that the student may see."""
        return baselines.judged(name, data, config)


def _purpose(run: Run[ExampleData], examples: Examples) -> ForExamples:
    """What parts are built for."""
    config = run.config
    return ForExamples(examples=examples, seed=config.seed, trust=config.trust, max_length=config.data.max_length)


MATERIAL = ExampleMaterial()
