"""What a run says of its data: where they are, how they are split, and how they become batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from didact.errors import ConfigError, check_range
from didact.types import Strength


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is taught on, and how it is read.

    Raises:
        ConfigError: a number out of range.
    """

    FLAGS: ClassVar[Mapping[str, str]] = {"source": "data"}

    source: str = ""  # taught on: a file, a folder of images by class, hf:NAME, one of `didact list worlds`; A+B
    target: str | None = None  # the column with the answers
    id_column: str | None = None  # the column that names each row; without one, a row is named by its content
    text_column: str | None = None  # the column with the text, where text is to be classified
    task: Literal["classification", "regression", "embedding"] | None = None  # by default, what the target looks like
    modality: Literal["table", "image", "series"] | None = None  # by default, what the shape of an array looks like
    standardise: Literal["channel", "series", "none"] = "channel"  # of series: by training rows, each by itself, or not
    drop: tuple[str, ...] = ()  # columns of a table to leave out
    categorical: tuple[str, ...] = ()  # columns of categories, whatever they look like
    numeric: tuple[str, ...] = ()  # columns of numbers, whatever they look like
    date: tuple[str, ...] = ()  # columns of dates, such as 2021-12-31
    missing: tuple[str, ...] = ()  # words or numbers that mean a missing value, besides an empty cell
    impute: Literal["mean", "median", "most_frequent"] = "median"  # what stands in for missing numbers
    skip_bad: bool = False  # leave out images that cannot be read
    image_size: int | None = None  # side in pixels to which images are resized
    max_length: int = 128  # longest text, in tokens
    group_column: str | None = None  # rows with the same value in this column stay in one split
    time_column: str | None = None  # the earliest rows train, the latest are the test
    split_column: str | None = None  # the column that says train, validation or test
    columns: Mapping[str, str] = field(default_factory=dict)  # of questions: columns by field, as prompt=question
    turns: Literal["last", "all"] = "last"  # which of the assistant's turns in a conversation are learned
    packing: int | None = None  # tokens of a row that several answers share; by default, each has its own
    chat_template_kwargs: Mapping[str, object] = field(default_factory=dict)  # for templates, as enable_thinking=false
    split: str | None = None  # the part to use, of a Hugging Face data set or a folder that has several
    classes: tuple[str, ...] = ()  # their names, where no row has a label and the teacher does not say them
    labels: int | str | None = None  # how many training labels the student may see, all by default; or a file of them
    redraw_labels: float = 0.0  # share of the training labels to replace at random, to see what wrong labels do
    made_up: float = 0.0  # rows of a table made up between training rows, for the teacher to answer; times as many

    def __post_init__(self) -> None:
        for name in ("image_size", "max_length", "labels"):
            value = getattr(self, name)
            if isinstance(value, int):
                check_range(name, value, at_least=1)
        check_range("made_up", self.made_up, at_least=0, at_most=100)
        check_range("redraw_labels", self.redraw_labels, at_least=0, at_most=1)
        if self.packing is not None:
            check_range("packing", self.packing, at_least=2)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How data are split.

    Raises:
        ConfigError: fractions that leave nothing to learn from, or to be judged by.
    """

    FLAGS: ClassVar[Mapping[str, str]] = {"seed": "split_seed"}

    validation: float | str = 0.1  # fraction of the examples for choosing and watching, or a file of them
    test: float | str = 0.2  # fraction of the examples for the final figures, or a file of them
    unlabelled: str | None = None  # a file of training examples without labels, such as those of another domain
    seed: int | None = None  # decides the splits where another seed is to decide the rest

    def __post_init__(self) -> None:
        fractions = self.fractions
        check_range("validation", fractions["validation"], at_least=0, below=1)
        if not isinstance(self.test, str):
            check_range("test", self.test, above=0, below=1)
        check_range("validation + test", fractions["validation"] + fractions["test"], below=1)
        if self.seed is not None:
            check_range("split_seed", self.seed, at_least=0, below=2**63)

    @property
    def fractions(self) -> dict[str, float]:
        """The fractions `validation` and `test`; 0 for what is in a file of its own."""
        given = {"validation": self.validation, "test": self.test}
        return {name: 0.0 if isinstance(value, str) else value for name, value in given.items()}

    @property
    def files(self) -> dict[str, str]:
        """The files that are given, by the argument of `sources.load`."""
        given = {"validation_file": self.validation, "test_file": self.test, "unlabelled_file": self.unlabelled}
        return {name: value for name, value in given.items() if isinstance(value, str)}


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """What a batch is made of.

    Raises:
        ConfigError: a number out of range.
    """

    FLAGS: ClassVar[Mapping[str, str]] = {"size": "batch_size", "seed": "order_seed"}

    size: int = 64  # examples in a step
    labelled_share: float | None = None  # share of a batch with labels, where these are rare; the method says
    class_weights: Literal["none", "balanced"] = "none"  # balanced: labels of rare classes weigh more in the loss
    sampler: Literal["uniform", "balanced"] = "uniform"  # balanced: each class is drawn as often as any other
    augment: Strength = "none"  # how much the inputs are varied; see `didact list views`
    views: Mapping[str, str] = field(default_factory=dict)  # of a method that has views: others, as strong=randaugment
    seed: int | None = None  # decides the order and the samples where another seed is to decide the rest

    def __post_init__(self) -> None:
        check_range("batch_size", self.size, at_least=1)
        if self.labelled_share is not None:
            check_range("labelled_share", self.labelled_share, above=0, below=1)
        if self.seed is not None:
            check_range("order_seed", self.seed, at_least=0, below=2**63)
        if self.class_weights != "none" and self.sampler != "uniform":
            raise ConfigError(
                "class_weights and sampler are both 'balanced', which would favour rare classes twice; choose one."
            )
