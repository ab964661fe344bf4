"""Runs on questions: a language model learns from the data's completions, or from what it writes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from didact import health
from didact.errors import ConfigError
from didact.evaluation import ArmResult
from didact.experiment.checking import Check
from didact.experiment.config import RunConfig
from didact.experiment.lessons import Lesson
from didact.experiment.material import Judge, Run
from didact.learners import causal
from didact.materials.questions import lessons, refusals, source, trials, verifying
from didact.materials.questions.data import QuestionData, open_questions
from didact.materials.questions.judge import QuestionJudge
from didact.parts import python
from didact.parts.part import ForQuestions, Part, Warmup
from didact.teachers import Verifier
from didact.types import Source

STUDENT = "student"
"""The folder in a run's directory that holds the model that the run delivered."""


class QuestionMaterial:
    """A `Material`; see there."""

    name = "questions"
    fields = ("columns", "sampling", "verifier")
    monitors = health.QUESTION_MONITORS
    log_every = 10

    def open(self, config: RunConfig, given: Any) -> QuestionData:
        """Questions from a file, a world or Python."""
        return open_questions(config, given)

    def reads(self, config: RunConfig) -> str:
        """Nothing: questions are texts, whoever reads them."""
        return ""

    def student(self, run: Run[QuestionData]) -> Part:
        """A causal language model."""
        return python.student_of(run.given("student"), ForQuestions(seed=run.config.seed, trust=run.config.trust))

    def teacher(self, run: Run[QuestionData]) -> Part:
        """Whatever says something of each token."""
        student, config = run.student.model, run.config
        purpose = ForQuestions(seed=config.seed + 1, trust=config.trust, student=student)
        return python.teacher_of(run.given("teacher"), purpose)

    def verifier(self, run: Run[QuestionData]) -> Verifier | None:
        """Who judges answers."""
        return verifying.open_verifier(run)

    def seen(self, run: Run[QuestionData]) -> QuestionData:
        """The same: teachers read what the student does."""
        return run.data

    def ingredients(self, run: Run[QuestionData]) -> Mapping[str, Any]:
        """The student, its teachers, and the training questions."""
        return {
            "learner": run.student.model,
            "teacher": run.teacher,
            "teachers": [teacher.model for teacher in run.teachers],
            "questions": run.data.train,
            "seed": run.config.seed,
        }

    def source(self, run: Run[QuestionData]) -> Source:
        """Completions, or rounds of rollouts."""
        return source.source_of(run)

    def lesson(self, run: Run[QuestionData], role: str, warmup: Warmup) -> Lesson:
        """Fine-tuning on the data's own answers."""
        return lessons.lesson_of(run, warmup)

    def judge(self, run: Run[QuestionData]) -> Judge:
        """By greedy answers to test questions."""
        return QuestionJudge(run)

    def refusals(self, run: Run[QuestionData]) -> Iterator[Check]:
        """Verifier, tokenizers, lengths, completions."""
        return refusals.refusals(run)

    def trials(self, run: Run[QuestionData]) -> Iterator[Check]:
        """Tokenizers, context, verifier, teacher, student, memory."""
        return trials.trials(run)

    def keep(self, run: Run[QuestionData], path: Path) -> None:
        """As a directory that `from_pretrained` loads."""
        causal.save_causal(run.method.delivered, path / STUDENT)

    def baselines(self, data: QuestionData, config: RunConfig) -> tuple[str, ...]:
        """None."""
        return ()

    def baseline(self, name: str, data: QuestionData, config: RunConfig) -> ArmResult:
        """None."""
        raise ConfigError(f"There is no baseline {name!r} for questions.")


MATERIAL = QuestionMaterial()
