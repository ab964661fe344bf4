"""Examples: opened, split, and with the labels that the student may see."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from didact import evaluation, hashing, sources, worlds
from didact.documents import Document
from didact.errors import ConfigError, DataError, nearest
from didact.evaluation import MASK, SIMILARITIES
from didact.experiment.checking import Check
from didact.experiment.config import RunConfig
from didact.experiment.material import Run
from didact.materials.examples import attacked, classes, segmentation
from didact.materials.examples.answers import logits_of
from didact.parts import parse
from didact.parts.kinds import find
from didact.parts.part import VIEW, brought_by
from didact.preprocessing import Dropped, TableOptions, TablePreprocessing
from didact.preprocessing.cells import MARKS
from didact.sources import add_view
from didact.sources.objects import from_object
from didact.teachers.tables import translate
from didact.types import IGNORE, Examples, Method, Scale, is_labelled, per_pixel

ASKED = 1_000
"""Training rows on which teachers are asked for the unit of a regression without labels."""
NO_SCALE = Scale(0.0, 1.0)
"""The unit of a regression without labels, until it is known."""
_READING = (
    *("target", "id_column", "text_column", "task", "modality", "standardise", "skip_bad", "image_size", "max_length"),
    "split",
)
_SPLITTING = ("group_column", "time_column", "split_column")
_FILE_FIELDS = (
    *_SPLITTING,
    *("target", "id_column", "text_column", "task", "modality", "standardise", "image_size", "split"),
    *(one.name for one in fields(TableOptions)),
)


@dataclass(frozen=True, kw_only=True)
class ExampleData:
    """The examples of a run."""

    opened: Examples
    """All of them, as they were opened: nothing is fitted yet."""
    examples: Examples
    """All of them, with inputs and labels as training examples say."""
    splits: sources.Splits
    """Training, validation and test examples, with every label."""
    train: Examples
    """The training examples with the labels that the student may see; the others are missing."""
    duplicates: tuple[str, ...]
    """Sentences about examples that are in two splits."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that they allow, the usual one first."""
        if self.examples.task == "embedding":
            return SIMILARITIES
        if not self.has_labels and self.examples.task == "regression":
            return ("teacher_rmse",)
        if not self.has_labels:
            return ("teacher_agreement", "teacher_kl")
        if self.examples.task == "regression":
            return ("r2", "rmse", "mae")
        if self.examples.task == "segmentation":
            return ("mean_iou", "accuracy", "nll")
        known = ("accuracy", "balanced_accuracy", "nll", "ece", "macro_f1", "auroc")
        if evaluation.is_unbalanced(self.examples.tensors["label"]):
            known = ("balanced_accuracy", "accuracy", *known[2:])
        known = (*known, "pixel_auroc") if MASK in self.examples.tensors else known
        return (*known, attacked.METRIC) if attacked.RADIUS in self.examples.tensors else known

    @cached_property
    def has_labels(self) -> bool:
        """Whether any example has a label; otherwise only agreement with the teacher can be measured."""
        return count_labels(self.examples) > 0

    def method_type(self, kind: type[Method]) -> Callable[..., Method]:
        """The class of a method as these data need it: of pixels, where they have masks."""
        return per_pixel(kind) if self.examples.task == "segmentation" else kind

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
        return sources.fingerprint(self.opened)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided about the data that could have been decided otherwise, as sentences."""
        known = self.examples.preprocessing
        columns = known.columns if isinstance(known, TablePreprocessing) else ()
        left = [f"{column.name!r}, as {column.reason}" for column in columns if isinstance(column, Dropped)]
        return (*self.examples.notes, *([f"Columns that are not used: {'; '.join(left)}."] if left else []))

    def describe(self) -> Document:
        """The examples in figures."""
        return {
            "name": self.examples.name,
            "fingerprint": self.fingerprint,
            "task": self.examples.task,
            "modality": self.examples.modality,
            "shape": list(self.examples.shape),
            "classes": list(self.examples.classes) if self.examples.task != "embedding" else [],
            "sizes": {name: part.size for name, part in self.splits},
            "labels": count_labels(self.train),
        }

    def checks(self, config: RunConfig) -> Iterator[Check]:
        """How many there are, how many of each class, and how many texts are cut."""
        examples = self.examples
        embedding = f"an embedding of {examples.outputs} numbers"
        counted = f"{len(examples.classes)} classes"
        kinds = {"classification": counted, "regression": "a regression", "segmentation": f"masks of {counted}"}
        shown = kinds.get(examples.task, embedding)
        yield Check("pass", "data", f"{examples.size:,} examples of {examples.name} ({examples.modality}), {shown}.")
        sizes = ", ".join(f"{part.size:,} {name}" for name, part in self.splits)
        yield Check("pass", "splits", f"{sizes}; {count_labels(self.train):,} training labels are used.")
        yield from (Check("pass", "data", note) for note in self.notes)
        if not self.has_labels and examples.task != "embedding":
            yield Check("warn", "classes", "No example has a label; only agreement with the teacher can be measured.")
        elif examples.task == "classification":
            yield from classes.checks(self.splits)
        elif examples.task == "segmentation":
            yield segmentation.check(self.splits)
        yield from _marks(examples)
        if examples.modality == "text":
            yield _texts(examples, config)


def _marks(examples: Examples) -> Iterator[Check]:
    """Classes whose names look as if there were none."""
    odd = [name for name in examples.classes if name in MARKS]
    if odd:
        detail = f"The class {odd[0]!r} looks like a missing value; if it is one, say missing={odd[0]!r} (--missing)."
        yield Check("warn", "classes", detail)


def _texts(examples: Examples, config: RunConfig) -> Check:
    lengths = examples.tensors["attention_mask"].sum(1)
    cut = float((lengths >= config.data.max_length).double().mean())
    words = f"{examples.vocabulary} token ids, {int(lengths.median())} tokens in the middle text; {cut:.0%} are cut."
    return Check("warn" if cut > 0.1 else "pass", "tokens", words + (" Raise max_length." if cut > 0.1 else ""))


def open_examples(config: RunConfig, given: object = None) -> ExampleData:
    """Open, split and thin out the data.

    Args:
        config: `data` and what says how to read it.
        given: data from Python in the place of a source; see `sources.objects.from_object`.

    Returns:
        The data; nothing is written.

    Raises:
        ConfigError: The data are not known, or an option does not go with them.
        DataError: They cannot be learned from as they are.
    """
    reading, like = _reading(config)
    examples = load_examples(config, reading) if given is None else from_object(given, reading)
    if config.data.task == "embedding":
        examples = _embedded(examples, config)
    if isinstance(config.data.labels, str) and (given is not None or config.data.source in worlds.names()):
        raise ConfigError(
            f"labels is {config.data.labels!r}, but the data come from no file; give a number, or a file."
        )
    if config.split.files and (given is not None or config.data.source in worlds.names()):
        raise ConfigError(
            f"{' and '.join(config.split.files.values())} cannot go with data that come from no file; give fractions, "
            "or examples with a tensor 'split'."
        )
    fractions = {**config.split.fractions, "seed": config.split_seed}
    if examples.rows is not None:
        examples = sources.arrange(examples, **fractions)
    split = partial(sources.split, **fractions)
    count = config.data.labels if isinstance(config.data.labels, int) else None
    keep = None if count is None else partial(sources.keep_labels, count=count, seed=config.seed)
    splits = split(examples)
    prepare = sources.fit_preprocessing(splits.train if keep is None else keep(splits.train), like)
    prepared = prepare(examples)
    # What was encoded once is not encoded again.
    splits = splits.map(prepare) if examples.rows is None else split(prepared)
    for name, part in splits:
        needed = name == "test" or (name == "validation" and config.select == "best")
        if needed and count_labels(prepared) and not count_labels(part):
            raise _unlabelled(name, part, config)
    found = tuple(str(duplicate) for duplicate in sources.find_duplicates(splits))
    train = splits.train if keep is None else keep(splits.train)
    if config.data.redraw_labels:
        train = sources.redraw_labels(train, config.data.redraw_labels, seed=config.seed)
    if config.data.made_up:
        train = sources.with_made_up(train, config.data.made_up, seed=hashing.stream(config.seed, "made up"))
    return ExampleData(opened=examples, examples=prepared, splits=splits, train=train, duplicates=found)


def open_whole(config: RunConfig, given: object) -> ExampleData:
    """The same with all examples for training, for a student that is judged elsewhere; see `open_examples`."""
    reading, like = _reading(config)
    examples = from_object(given, reading)
    train = sources.fit_preprocessing(examples, like)(examples)
    none = train.select(torch.zeros(0, dtype=torch.int64))
    splits = sources.Splits(train=train, validation=none, test=none)
    return ExampleData(opened=examples, examples=train, splits=splits, train=train, duplicates=())


def extend(run: Run[ExampleData]) -> ExampleData:
    """The data with what is known of them once there is a teacher.

    That is the view that a teacher with a tokenizer of its own looks at, and the unit of a regression without labels,
    which is that of the teachers' answers.
    """
    data, teachers = run.data, run.teachers
    if teachers and data.examples.scale == NO_SCALE and not data.has_labels:
        return _in_unit_of_answers(run)
    tokenizer = next((part.tokenizer for part in teachers if part.tokenizer is not None), None)
    if tokenizer is None or data.examples.modality != "text":
        return data
    splits = data.splits
    seen = [add_view(part, VIEW, tokenizer) for part in (splits.train, splits.validation, splits.test)]
    tokens = {name: tensor for name, tensor in seen[0].tensors.items() if name.startswith(f"{VIEW}.")}
    splits = replace(splits, train=seen[0], validation=seen[1], test=seen[2])
    return replace(data, splits=splits, train=data.train.with_tensors(**tokens))


def _in_unit_of_answers(run: Run[ExampleData]) -> ExampleData:
    """The data in the unit of the teachers' answers on training rows, and the teachers in it too."""
    data = run.data
    if any(teacher.warm_starts for teacher in run.teachers):
        return data  # which is refused
    few = data.train.batch(slice(0, ASKED))
    scale = sources.fit_scale(torch.cat([logits_of(teacher.model.signal(few)) for teacher in run.teachers]).flatten())
    run.teachers = tuple(replace(part, model=translate(part.model, scale)) for part in run.teachers)
    splits = data.splits.map(lambda part: replace(part, scale=scale))
    examples, train = (replace(part, scale=scale) for part in (data.examples, data.train))
    return replace(data, examples=examples, splits=splits, train=train)


def select_labelled(examples: Examples) -> Examples:
    """Only the examples that have a label."""
    known = is_labelled(examples.tensors["label"])
    return examples if bool(known.all()) else examples.select(known)


def count_labels(examples: Examples) -> int:
    """How many examples have a label."""
    return int(is_labelled(examples.tensors["label"]).sum())


def _unlabelled(name: str, part: Examples, config: RunConfig) -> DataError:
    return DataError(
        f"None of the {part.size} {name} examples has a label, so that nothing can be evaluated on them; give more "
        f"labels, or a larger fraction than {name}={getattr(config.split, name)}."
    )


def _reading(config: RunConfig) -> tuple[Document, Examples | None]:
    """The arguments of `sources.load`, and blank examples of the kind that the student was taught on before."""
    # A student from Python brings nothing; without a tokenizer, text is read as bytes.
    own = config.student.startswith("<")
    tokenizer, like = (None, None) if own else brought_by(parse(config.student, "student"), config.data.max_length)
    options = TableOptions(**{one.name: getattr(config.data, one.name) for one in fields(TableOptions)})
    named = {name: getattr(config.data, name) for name in (*_READING, *_SPLITTING)}
    found = {"columns": options, "tokenizer": tokenizer, "classes": partial(_known_classes, config)}
    labels = {"labels_file": config.data.labels} if isinstance(config.data.labels, str) else {}
    return {**found, **named, **config.split.files, **labels}, like


def _embedded(examples: Examples, config: RunConfig) -> Examples:
    """The same examples without labels, for a teacher's embeddings."""
    spec = None if config.teacher is None or config.teacher.startswith("<") else parse(config.teacher, "teacher")
    kind = None if spec is None else find(spec.role, spec.kind).load()
    width = kind.width(spec, config.trust) if kind is not None and hasattr(kind, "width") else 0
    if not width:
        raise ConfigError(
            f"task is 'embedding', but teacher is {config.teacher!r}, which makes none; give an encoder, such as "
            "hf:DIRECTORY, or an earlier run that was taught by one."
        )
    blank = torch.full((examples.size,), IGNORE)
    names = tuple(f"e{number}" for number in range(width))
    return replace(examples.with_tensors(label=blank), task="embedding", classes=names, scale=None, notes=())


def _known_classes(config: RunConfig) -> tuple[str, ...]:
    """The names of the classes, for data without a label: as they are given, or as the teacher says them."""
    if config.data.classes or config.teacher is None or config.teacher.startswith("<"):
        return config.data.classes
    spec = parse(config.teacher, "teacher")
    kind = find(spec.role, spec.kind).load()
    return kind.classes(spec, config.trust) if hasattr(kind, "classes") else ()


def load_examples(config: RunConfig, reading: Document | None = None) -> Examples:
    """Read the source that a run names; see `open_examples`.

    Args:
        config: the run's.
        reading: the arguments of `sources.load`, where they are known.
    """
    data = config.data
    if data.source in worlds.names():
        return _built_in(config)
    if not data.source.startswith("hf:") and not Path(data.source).exists():
        raise ConfigError(
            f"data is {data.source!r}, which is neither a file or folder here nor built in. "
            f"{nearest(data.source, worlds.names('examples'))} `didact list worlds` prints what is. Otherwise give the "
            "path of a .csv, .parquet, .jsonl, .npz or .ts file, of a folder of images by class or with masks, or "
            "hf:NAME."
        )
    return sources.load(data.source, **(reading or _reading(config)[0]))


def _built_in(config: RunConfig) -> Examples:
    name = config.data.source
    usual = {one.name: one.default for one in fields(config.data)}
    for field in _FILE_FIELDS:
        if (value := getattr(config.data, field)) != usual[field]:
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
