"""Loading and splitting of questions."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from didact import sources, worlds
from didact.documents import Document, Values
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
        return ("accuracy", "reward", "nll", "pair_accuracy", "step_accuracy", "teacher_kl", "length", "finished")

    @property
    def splits(self) -> dict[str, Questions]:
        """The splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of all questions."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
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
            **({"layouts": list(self.questions.layouts)} if self.questions.layouts else {}),
        }

    def checks(self, config: RunConfig) -> Iterator[Check]:
        """Checks with the numbers of questions, answers and completions."""
        answers = sum(question.answer is not None for question in self.questions)
        written = sum(question.answered for question in self.questions)
        yield Check(
            "pass",
            "data",
            f"{len(self.questions):,} questions of {self.questions.name}, {answers:,} with an answer to compare with "
            f"and {written:,} with a completion to learn from.",
        )
        for sentence in self.questions.layouts:
            yield Check("pass", "layout", sentence)
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in self.splits.items())
        yield Check("pass", "splits", f"{sizes}.")


def open_questions(config: RunConfig, given: object = None) -> QuestionData:
    """Open and split the questions of a run.

    Args:
        config: the run's configuration; its `data` may be a mixture, as in `a.jsonl*0.7+b.jsonl*0.3`.
        given: data from Python instead of `config.data.source`: `Questions`, or a list of mappings with `prompt`.

    Raises:
        ConfigError: The data are unknown.
        DataError: They have no questions, or none for evaluation.
    """
    if given is None:
        sets, shares = zip(*sources.read_mixture(config.data.source), strict=True)
        loaded = [_load(name, config) for name in sets]
    else:
        shares, loaded = (None,), [_from_python(given, config)]
    held_out = {
        field.removesuffix("_file"): _own_file(field, path, config) for field, path in config.split.files.items()
    }
    loaded = sources.distinct_ids([*loaded, *held_out.values()])
    if template := config.data.chat_template_kwargs:
        loaded = [_with_template(part, template) for part in loaded]
    own = dict(zip(held_out, loaded[len(shares) :], strict=True))
    loaded = loaded[: len(shares)]
    fractions = config.split.fractions
    found = [sources.split_questions(part, **fractions, seed=config.split_seed) for part in loaded]
    train, validation, test = zip(*found, strict=True)
    parts = {
        "train": sources.join_questions(train, shares),
        "validation": own.get("validation") or sources.join_questions(validation),
        "test": own.get("test") or sources.join_questions(test),
    }
    duplicates = tuple(str(duplicate) for duplicate in sources.find_duplicate_questions(parts))
    every = sources.join_questions([*loaded, *own.values()])
    return QuestionData(questions=every, duplicates=duplicates, **parts)


def _with_template(questions: Questions, template: Values) -> Questions:
    """The same questions with further arguments for chat templates; what a row says itself counts more."""
    return questions.map(lambda one: dataclasses.replace(one, template={**template, **one.template}))


def _load(name: str, config: RunConfig) -> Questions:
    if name in worlds.names():
        return _built_in(name, config)
    if not name.startswith("hf:") and not Path(name).exists():
        raise ConfigError(
            f"data is {name!r}, which is neither a file here nor built in. "
            f"{nearest(name, worlds.names('questions'))} `didact list worlds` prints what is. Otherwise give the path "
            "of a .jsonl or .parquet file, or hf:NAME."
        )
    split = config.data.split if name.startswith("hf:") or name == config.data.source else None
    return sources.load_questions(name, columns=config.data.columns, split=split)


def _own_file(field: str, path: str, config: RunConfig) -> Questions:
    """The questions of a file that holds the validation or the test questions alone."""
    name = field.removesuffix("_file")
    if not Path(path).is_file():
        raise ConfigError(f"{name} is {path!r}, which is no file here; give a file of prompts, or a fraction.")
    found = sources.load_questions(path, columns=config.data.columns)
    if not len(found):
        raise DataError(f"{path}, the file of {name}, has no questions.")
    return found


def _built_in(name: str, config: RunConfig) -> Questions:
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
