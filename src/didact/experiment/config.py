"""The configuration of one run: the same whether it came from flags, a file or Python."""

import dataclasses
import json
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from didact.errors import ConfigError, check_range, nearest
from didact.options import convert

AXES = ("steps", "epochs", "labels", "teacher_calls", "tokens", "env_steps", "seconds")
"""What a budget can be counted in."""
SHORTHANDS = ("steps", "epochs", "seconds")
"""The axes of a budget that can be given as if they were options: `steps = 500`."""
DEFAULT_BUDGET = {"steps": 1000}
_TABLES = ("columns", "sampling")
"""The fields that are tables, which the command line writes as `name=value,name=value`."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What one run is made of. Every field is an option of the command line and a key of a `--config` file."""

    method: str  # how it is taught: a method's name, package.module, or the path of a file
    options: Mapping[str, Any] = field(default_factory=dict)  # the method's own options
    data: str = "digits"  # what it is taught on: a built-in data set, a file, a folder of images by class, or hf:NAME
    target: str | None = None  # the column with the answers
    id_column: str | None = None  # the column that names each row; without one, a row is named by its content
    text_column: str | None = None  # the column with the text, where text is to be classified
    task: Literal["classification", "regression"] | None = None  # by default, what the target looks like
    impute: Literal["mean", "median", "most_frequent"] | None = None  # what to fill missing values with; else refused
    skip_bad: bool = False  # leave out images that cannot be read
    image_size: int | None = None  # side in pixels to which images are resized
    max_length: int = 128  # longest text, in tokens
    columns: Mapping[str, str] = field(default_factory=dict)  # of questions: columns by field, as prompt=question
    verifier: str | None = None  # what judges answers: exact, numeric, python, package.module:function, or a sum
    sampling: Mapping[str, Any] = field(default_factory=dict)  # of answers: max_new_tokens=64,temperature=1,samples=8
    split: str | None = None  # the part to use, of a Hugging Face data set or a folder that has several
    labels: int | None = None  # how many training labels the student may see; all by default
    validation: float = 0.1  # fraction of the examples for choosing and watching
    test: float = 0.2  # fraction of the examples for the final figures
    learner: str = "auto"  # the student: mlp:64,64, cnn:16,32, transformer:2x64, decoder:4x128, hf:DIR, module:factory
    teacher: str | None = None  # who teaches: a .skops or .onnx file, runs/NAME, hf:DIR, mlp:256,256, random
    trust: tuple[str, ...] = ()  # what files may ask for: package.module:factory, hf:NAME, types in a .skops file
    teacher_epochs: int = 30  # passes in which a teacher such as mlp:256,256 is trained first; at least 500 steps
    batch_size: int = 64  # examples in a step
    labelled_share: float | None = None  # share of a batch with labels, where these are rare; the method says
    augment: Literal["none", "weak", "strong"] = "none"  # how much the inputs are varied
    budget: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_BUDGET))  # when to stop, such as steps=500
    optimizer: str = "adamw"  # what makes the steps
    lr: float | None = None  # the highest learning rate; 0.003 for the built-in nets, 0.00005 for hf:, else 0.001
    weight_decay: float = 0.01  # decay of the weights
    momentum: float = 0.9  # momentum of sgd
    schedule: Literal["cosine", "constant", "linear"] = "cosine"  # how the learning rate changes
    warmup: float = 0.0  # share of the budget over which the learning rate rises from nothing
    clip_norm: float | None = None  # longest gradient that is not shortened
    micro_batch: int | None = None  # examples that go through the model at once
    seed: int = 0  # decides the splits, the labels that are kept, the first weights and the order
    split_seed: int | None = None  # decides the splits where another seed is to decide the rest
    device: str = "auto"  # cpu, cuda, mps or auto
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the arithmetic
    evaluate_every: int | None = None  # steps between evaluations on the validation examples; ten times a run
    checkpoint_every: int | None = None  # steps between checkpoints
    monitors: tuple[str, ...] = ()  # what a monitor that objects asks for: LossSpike=roll_back, EffectiveRank=off
    select: Literal["last", "best"] = "last"  # which weights are delivered; best counts the validation labels as used

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        check_range("validation", self.validation, at_least=0, below=1)
        check_range("test", self.test, above=0, below=1)
        check_range("validation + test", self.validation + self.test, below=1)
        for name in ("batch_size", "max_length", "teacher_epochs"):
            check_range(name, getattr(self, name), at_least=1)
        for name in ("labels", "image_size", "micro_batch", "evaluate_every", "checkpoint_every"):
            if (value := getattr(self, name)) is not None:
                check_range(name, value, at_least=1)
        if self.labelled_share is not None:
            check_range("labelled_share", self.labelled_share, above=0, below=1)
        check_range("seed", self.seed, at_least=0)
        for name in ("lr", "clip_norm"):
            if (value := getattr(self, name)) is not None:
                check_range(name, value, above=0)
        self._check_budget()
        self._check_monitors()
        if self.select == "best" and not self.validation:
            raise ConfigError("select is 'best', but validation is 0; give a fraction of the examples, such as 0.1.")

    def _check_monitors(self) -> None:
        if self.monitors:
            from didact import health

            health.configured(self.monitors)

    def _check_budget(self) -> None:
        if not self.budget:
            raise ConfigError("budget is empty; say when to stop, such as steps=500.")
        for axis, amount in self.budget.items():
            check_range(f"The budget of {axis}", amount, above=0)

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, ready for JSON."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def replace(self, **changes: Any) -> "RunConfig":
        """The same configuration with some fields changed; values are converted as those of a file are."""
        return make({**self.as_dict(), **changes})


def _plain(value: Any) -> Any:
    """Mappings as dictionaries and tuples as lists, as JSON gives them back."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def fields() -> tuple[str, ...]:
    """The names of the fields of `RunConfig`."""
    return tuple(f.name for f in dataclasses.fields(RunConfig))


def make(values: Mapping[str, Any]) -> RunConfig:
    """Make a configuration from words or values by name.

    Args:
        values: fields of `RunConfig`; `steps`, `epochs` and `seconds` stand for a budget on that axis.

    Returns:
        The configuration, checked.

    Raises:
        ConfigError: A key is unknown (the nearest are offered), a value cannot be, or `method` is missing.
    """
    known = fields()
    for name in values:
        if name not in known and name not in SHORTHANDS:
            raise ConfigError(f"There is no option {name!r}. {nearest(name, (*known, *SHORTHANDS))}")
    if "method" not in values:
        raise ConfigError("method is not given; name one, such as distill. `didact list` shows them all.")
    hints = typing.get_type_hints(RunConfig)
    values = {name: parse_table(name, value) if name in _TABLES else value for name, value in values.items()}
    settled = {name: convert(name, value, hints[name]) for name, value in values.items() if name in known}
    budget = _budget(values)
    settled = {name: value for name, value in settled.items() if name != "budget"}
    if settled.get("sampling"):
        settled["sampling"] = _sampling(settled["sampling"])
    if budget:
        settled["budget"] = budget
    return RunConfig(**settled)


def _budget(values: Mapping[str, Any]) -> dict[str, float]:
    """What is given for a budget, with whole numbers as such, so that files and flags agree."""
    given = values.get("budget") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"budget is {given!r}, but must be a table such as {{steps = 500}}.")
    merged = {**given, **{axis: values[axis] for axis in SHORTHANDS if values.get(axis) is not None}}
    for axis in merged:
        if axis not in AXES:
            raise ConfigError(f"budget has no axis {axis!r}. {nearest(axis, AXES)}")
    return {
        axis: convert(f"The budget of {axis}", amount, float if axis in ("seconds", "epochs") else int)
        for axis, amount in merged.items()
    }


def _sampling(table: Mapping[str, Any]) -> dict[str, Any]:
    """How completions are sampled, every option of it."""
    from didact.rollouts import Sampling

    hints = {f.name: f.type for f in dataclasses.fields(Sampling)}
    for name in table:
        if name not in hints:
            raise ConfigError(f"sampling has no {name!r}. {nearest(name, hints)}")
    return dataclasses.asdict(Sampling(**{k: convert(f"sampling's {k}", v, hints[k]) for k, v in table.items()}))


def read_file(path: str | Path) -> dict[str, Any]:
    """Read the values of a configuration file.

    Args:
        path: TOML (`.toml`) or JSON (`.json`), as `config.json` in a run's directory.

    Returns:
        Values by name, not yet checked.

    Raises:
        ConfigError: The file is missing or cannot be read as what its name says.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise ConfigError(f"The configuration {str(path)!r} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise ConfigError(f"The configuration {str(path)!r} is not {kind}: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"The configuration {str(path)!r} holds {type(values).__name__}, but must be a table of options."
        )
    # The configuration that a run stores stands beside what else it stores.
    stored = values.get("config")
    return dict(stored) if isinstance(stored, dict) else values


def parse_table(name: str, words: Any) -> Any:
    """Read `samples=8,temperature=0.7` into a table; what is none of words is left as it is.

    Raises:
        ConfigError: It cannot be read.
    """
    if not isinstance(words, str):
        return words
    pairs = [part.partition("=") for part in words.split(",") if part.strip()]
    if any(not equals or not key.strip() for key, equals, _ in pairs):
        raise ConfigError(f"{name} is {words!r}, but must be like name=value,name=value.")
    return {key.strip().replace("-", "_"): value.strip() for key, _, value in pairs}


def parse_budget(words: str) -> dict[str, str]:
    """Read `steps=500,seconds=60` (or `500`, which is steps) into a table.

    Raises:
        ConfigError: It cannot be read.
    """
    parts = [part.strip() for part in words.split(",") if part.strip()]
    if len(parts) == 1 and "=" not in parts[0]:
        return {"steps": parts[0]}
    pairs = [part.partition("=") for part in parts]
    if not pairs or any(not equals for _, equals, _ in pairs):
        raise ConfigError(f"budget is {words!r}, but must be like steps=500 or steps=500,seconds=60.")
    return {axis.strip(): amount.strip() for axis, _, amount in pairs}
