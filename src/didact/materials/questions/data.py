"""Loading and splitting of questions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from didact import sources, worlds
from didact.documents import Document
from didact.errors import ConfigError, DataError, nearest
from didact.experiment.checking import Check
from didact.experiment.config import RunConfig
from didact.types import Questions


@dataclass(frozen=True, kw_only=True)
class QuestionData:
    """The questions of a run."""

    questions: Questions
    """All questions, before the split."""
    train: Questions
    validation: Questions
    test: Questions
    duplicates: tuple[str, ...] = ()
    """Sentences on questions that are in two splits."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the data allow, the usual one first."""
        return ("accuracy", "reward", "nll", "pair_accuracy", "teacher_kl", "length", "finished")

    @property
    def splits(self) -> dict[str, Questions]:
        """The splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of all questions."""
        return sources.fingerprint_questions(self.questions)

    def describe(self) -> Document:
        """Name, fingerprint and sizes of the data."""
        return {
            "name": self.questions.name,
            "fingerprint": self.fingerprint,
            "task": "questions",
            "modality": "text",
            "sizes": {name: len(part) for name, part in self.splits.items()},
            "labels": sum(q.answer is not None or q.completion is not None for q in self.train),
        }

    def checks(self, config: RunConfig) -> Iterator[Check]:
        """Checks with the numbers of questions, answers and completions."""
        answers = sum(question.answer is not None for question in self.questions)
        written = sum(bool(question.completion) for question in self.questions)
        yield Check(
            "ok",
            "data",
            f"{len(self.questions):,} questions of {self.questions.name}, {answers:,} with an answer to compare with "
            f"and {written:,} with a completion to learn from.",
        )
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in self.splits.items())
        yield Check("ok", "splits", f"{sizes}.")


def open_questions(config: RunConfig, given: object = None) -> QuestionData:
    """Open and split the questions of a run.

    Args:
        config: the run's configuration.
        given: data from Python instead of `config.data.source`: `Questions`, or a list of mappings with `prompt`.

    Raises:
        ConfigError: The data are unknown.
        DataError: They have no questions, or none for evaluation.
    """
    questions = _load(config) if given is None else _from_python(given, config)
    train, validation, test = sources.split_questions(
        questions, validation=config.split.validation, test=config.split.test, seed=config.split_seed
    )
    parts = {"train": train, "validation": validation, "test": test}
    found = tuple(str(duplicate) for duplicate in sources.find_duplicate_questions(parts))
    return QuestionData(questions=questions, train=train, validation=validation, test=test, duplicates=found)


def _load(config: RunConfig) -> Questions:
    name = config.data.source
    if name in worlds.names():
        return _built_in(config)
    if not name.startswith("hf:") and not Path(name).exists():
        raise ConfigError(
            f"data is {name!r}, which is neither a file here nor built in. "
            f"{nearest(name, worlds.names('questions'))} `didact list worlds` prints what is. Otherwise give the path "
            "of a .jsonl or .parquet file, or hf:NAME."
        )
    return sources.load_questions(name, columns=config.data.columns, split=config.data.split)


def _built_in(config: RunConfig) -> Questions:
    name = config.data.source
    for field in ("columns", "split"):
        if value := getattr(config.data, field):
            raise ConfigError(
                f"{field} is {value!r}, which does not apply to the built-in data {name!r}; leave out {field}."
            )
    found = worlds.load(name)
    if isinstance(found, Questions):
        return found
    raise ConfigError(
        f"data is {name!r}, which has no questions, but the method {config.method!r} trains language models; give a "
        f".jsonl or .parquet file, hf:NAME, or one of {', '.join(worlds.names('questions'))}."
    )


def _from_python(given: object, config: RunConfig) -> Questions:
    if isinstance(given, Questions):
        return given
    if isinstance(given, list | tuple):
        return sources.from_records(given, columns=config.data.columns)
    raise DataError(
        f"data is {type(given).__name__}, but language models learn from questions; give a list of mappings such "
        "as {'prompt': '37+85=', 'answer': '122'}, Questions, or the name or path of some."
    )
