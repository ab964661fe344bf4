"""Examples: opened, split, and with the labels that the student may see."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from didact import evaluation, sources, worlds
from didact.documents import Document
from didact.errors import ConfigError, DataError, nearest
from didact.evaluation import MASK
from didact.experiment.checking import Check
from didact.experiment.config import RunConfig
from didact.experiment.material import Run
from didact.materials.examples import classes
from didact.parts import parse
from didact.parts.part import VIEW, tokenizer_of
from didact.sources import add_view
from didact.types import Examples, is_labelled

_FILE_FIELDS = ("target", "id_column", "text_column", "task", "impute", "image_size", "split")


@dataclass(frozen=True, kw_only=True)
class ExampleData:
    """The examples of a run."""

    examples: Examples
    """All of them, as they were opened."""
    splits: sources.Splits
    """Training, validation and test examples, with every label."""
    train: Examples
    """The training examples with the labels that the student may see; the others are missing."""
    duplicates: tuple[str, ...]
    """Sentences about examples that are in two splits."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that they allow, the usual one first."""
        if self.examples.task == "regression":
            return ("r2", "rmse", "mae")
        known = ("accuracy", "balanced_accuracy", "nll", "ece", "macro_f1", "auroc")
        if evaluation.is_unbalanced(self.examples.tensors["label"]):
            known = ("balanced_accuracy", "accuracy", *known[2:])
        return (*known, "pixel_auroc") if MASK in self.examples.tensors else known

    def order_metrics(self, found: dict[str, float]) -> dict[str, float]:
        """The same metrics, the usual one first."""
        usual = self.metrics[0]
        return {usual: found[usual], **found} if usual in found else found

    @cached_property
    def labelled(self) -> Examples:
        """The training examples whose label the student may see."""
        return select_labelled(self.train)

    @property
    def fingerprint(self) -> str:
        """That of all examples."""
        return sources.fingerprint(self.examples)

    def describe(self) -> Document:
        """The examples in figures."""
        return {
            "name": self.examples.name,
            "fingerprint": self.fingerprint,
            "task": self.examples.task,
            "modality": self.examples.modality,
            "shape": list(self.examples.shape),
            "classes": list(self.examples.classes),
            "sizes": {name: part.size for name, part in self.splits},
            "labels": count_labels(self.train),
        }

    def checks(self, config: RunConfig) -> Iterator[Check]:
        """How many there are, how many of each class, and how many texts are cut."""
        examples = self.examples
        shown = f"{len(examples.classes)} classes" if examples.classes else "a regression"
        yield Check("ok", "data", f"{examples.size:,} examples of {examples.name} ({examples.modality}), {shown}.")
        sizes = ", ".join(f"{part.size:,} {name}" for name, part in self.splits)
        yield Check("ok", "splits", f"{sizes}; {count_labels(self.train):,} training labels are used.")
        if examples.classes:
            yield from classes.checks(self.splits)
        if examples.modality == "text":
            yield _texts(examples, config)


def _texts(examples: Examples, config: RunConfig) -> Check:
    lengths = examples.tensors["attention_mask"].sum(1)
    cut = float((lengths >= config.data.max_length).double().mean())
    words = f"{examples.vocabulary} token ids, {int(lengths.median())} tokens in the middle text; {cut:.0%} are cut."
    return Check("warn" if cut > 0.1 else "ok", "tokens", words + (" Raise max_length." if cut > 0.1 else ""))


def open_examples(config: RunConfig, given: object = None) -> ExampleData:
    """Open, split and thin out the data.

    Args:
        config: `data` and what says how to read it.
        given: data from Python in the place of a source: `Examples`, a mapping of tensors, or a pair (x, y).

    Returns:
        The data; nothing is written.

    Raises:
        ConfigError: The data are not known, or an option does not go with them.
        DataError: They cannot be learned from as they are.
    """
    examples = load_examples(config) if given is None else _from_python(given, config)
    splits = sources.split(examples, validation=config.split.validation, test=config.split.test, seed=config.split_seed)
    if config.data.impute is not None:
        splits = sources.impute(splits, config.data.impute)
    train = splits.train
    if config.data.labels is not None:
        train = sources.keep_labels(train, config.data.labels, seed=config.seed)
    _check_labels(splits, config)
    found = tuple(str(duplicate) for duplicate in sources.find_duplicates(splits))
    return ExampleData(examples=examples, splits=splits, train=train, duplicates=found)


def with_tokens(run: Run[ExampleData]) -> ExampleData:
    """The data with the view that a teacher with a tokenizer of its own looks at."""
    data, teachers = run.data, run.teachers
    tokenizer = next((part.tokenizer for part in teachers if part.tokenizer is not None), None)
    if tokenizer is None or data.examples.modality != "text":
        return data
    splits = data.splits
    seen = [add_view(part, VIEW, tokenizer) for part in (splits.train, splits.validation, splits.test)]
    tokens = {name: tensor for name, tensor in seen[0].tensors.items() if name.startswith(f"{VIEW}.")}
    splits = replace(splits, train=seen[0], validation=seen[1], test=seen[2])
    return replace(data, splits=splits, train=data.train.with_tensors(**tokens))


def select_labelled(examples: Examples) -> Examples:
    """Only the examples that have a label."""
    known = is_labelled(examples.tensors["label"])
    return examples if bool(known.all()) else examples.select(known)


def count_labels(examples: Examples) -> int:
    """How many examples have a label."""
    return int(is_labelled(examples.tensors["label"]).sum())


def _check_labels(splits: sources.Splits, config: RunConfig) -> None:
    """Refuse splits on which nothing could be evaluated."""
    for name, part in splits:
        needed = name == "test" or (name == "validation" and config.select == "best")
        if needed and not count_labels(part):
            raise DataError(
                f"None of the {part.size} {name} examples has a label, so that nothing can be evaluated on them; give "
                f"more labels, or a larger fraction than {name}={getattr(config.split, name):g}."
            )


def load_examples(config: RunConfig) -> Examples:
    """Read the source that a run names, as it says; see `open_examples`."""
    data = config.data
    if data.source in worlds.names():
        return _built_in(config)
    if not data.source.startswith("hf:") and not Path(data.source).exists():
        raise ConfigError(
            f"data is {data.source!r}, which is neither a file or folder here nor built in. "
            f"{nearest(data.source, worlds.names('examples'))} `didact list worlds` prints what is. Otherwise give the "
            "path of a .csv, .parquet, .jsonl or .npz file, of a folder of images by class, or hf:NAME."
        )
    # A student from Python brings no tokenizer; without one, text is read as bytes.
    student = None if config.student.startswith("<") else parse(config.student, "student")
    return sources.load(
        data.source,
        target=data.target,
        id_column=data.id_column,
        text_column=data.text_column,
        task=data.task,
        impute=data.impute,
        skip_bad=data.skip_bad,
        image_size=data.image_size,
        tokenizer=None if student is None else tokenizer_of(student, data.max_length),
        max_length=data.max_length,
        split=data.split,
    )


def _built_in(config: RunConfig) -> Examples:
    name = config.data.source
    for field in _FILE_FIELDS:
        if (value := getattr(config.data, field)) is not None:
            raise ConfigError(
                f"{field} is {value!r}, which means nothing for the built-in data {name!r}; leave out {field}."
            )
    if name not in worlds.names("examples"):
        raise ConfigError(
            f"data is {name!r}, which holds questions for language models, but the method {config.method!r} learns "
            "from examples; choose a method such as sft or grpo, or data such as "
            f"{', '.join(worlds.names('examples')[:4])}."
        )
    return worlds.load(name, "examples")


def _from_python(given: object, config: RunConfig) -> Examples:
    if isinstance(given, Examples):
        return given
    missing = config.data.impute is not None
    if isinstance(given, Mapping) and {"x", "label"} <= set(given):
        return sources.from_tensors(
            given["x"], given["label"], ids=given.get("id"), task=config.data.task, allow_missing=missing
        )
    if isinstance(given, tuple) and len(given) == 2:
        return sources.from_tensors(given[0], given[1], task=config.data.task, allow_missing=missing)
    raise DataError(
        f"data is {type(given).__name__}, which is not understood; give a name or path, Examples, a mapping with 'x' "
        "and 'label', or a pair (x, y)."
    )
