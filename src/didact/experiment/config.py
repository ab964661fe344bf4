"""The configuration of one run, from flags, a file or Python."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from didact import health
from didact.documents import Document, Values
from didact.errors import ConfigError, check_choice, check_range, nearest
from didact.experiment.reading import ALIASES, join_mixture, parse_part, parse_table, parse_values
from didact.loop import Budget, LoopConfig, OptimizerConfig
from didact.options import convert, hints_of
from didact.rollouts import EngineConfig, EnvironmentConfig, Sampling
from didact.sources import BatchConfig, DataConfig, SplitConfig

SHORTHANDS = ("steps", "epochs", "seconds")
"""The axes of a budget that can be given like fields: `steps = 500`."""
DEFAULT_STEPS = 1000
_WORDED = {
    "sampling": parse_table,
    "engine": parse_part,
    "environment": parse_part,
    "columns": parse_table,
    "views": parse_table,
    "chat_template_kwargs": parse_values,
}
"""How the fields that are tables are read from words."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The configuration of one run.

    Each field, and each field of its tables, is a flag of the command line and a key of a configuration file:
    `lr = 0.01`, or `[optimizer]` with `lr = 0.01` below it. If a flag has another name than its field, the `FLAGS` of
    the table define it.

    Raises:
        ConfigError: A combination of values can never work.
    """

    method: str  # the method: a name, package.module, or the path of a file
    options: Values = field(default_factory=dict)  # the method's own options
    student: str = "auto"  # the student, such as mlp:64,64 or hf:DIR; see `didact list students`
    teacher: str | None = None  # the teacher, such as forest.skops, runs/NAME or cnn:32,64; see `didact list teachers`
    teacher_data: str | None = None  # the file that the teacher was fitted on; figures on its rows are marked
    teacher_epochs: int = 30  # epochs that train a teacher such as mlp:256,256 first; at least 500 steps
    verifier: str | None = None  # the verifier, such as numeric or exact+0.1*length:512; see `didact list verifiers`
    sampling: Sampling = field(default_factory=Sampling)  # of completions: max_new_tokens=64,temperature=1,samples=8
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of language models; auto: as they are stored
    engine: EngineConfig = field(
        default_factory=EngineConfig
    )  # of rollouts: own, int8 or server:URL; then options such as behind=1
    environment: EnvironmentConfig = field(
        default_factory=EnvironmentConfig
    )  # that answers between turns: calculator or package.module:factory; then options such as turns=4
    dropout: Literal["auto", "on", "off"] = (
        "auto"  # of a language model; auto: off if the method compares probabilities
    )
    gradient_checkpointing: bool = False  # of a language model: less memory for activations, a third more time
    trust: tuple[str, ...] = ()  # what files may use: package.module:factory, hf:NAME, types in a .skops file
    monitors: tuple[str, ...] = ()  # actions of monitors, such as loss_spike=stop; see `didact list monitors`
    select: Literal["last", "best"] = "last"  # the delivered weights; best counts the validation labels as used
    seed: int = 0  # of the splits, the labels, the weights, the order and the samples, independently
    budget: Budget = field(default_factory=lambda: Budget(steps=DEFAULT_STEPS))  # when to stop, such as steps=500
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, ("auto", "float32", "bfloat16"))
        check_range("teacher_epochs", self.teacher_epochs, at_least=1)
        check_range("seed", self.seed, at_least=0, below=2**63)
        health.actions(self.monitors)
        if self.select == "best" and not self.split.validation:
            raise ConfigError("select is 'best', but validation is 0; give a fraction of the examples, such as 0.1.")

    @classmethod
    def from_flags(cls, **values: object) -> "RunConfig":
        """Make a configuration from strings or values by flag; see `make_config`."""
        return make_config(values)

    @property
    def split_seed(self) -> int:
        """The seed of the splits."""
        return self.seed if self.split.seed is None else self.split.seed

    @property
    def order_seed(self) -> int:
        """The seed of the order and the samples."""
        return self.seed if self.batches.seed is None else self.batches.seed

    def as_dict(self) -> Document:
        """All fields by name, with nested tables, for JSON."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def flat(self) -> Document:
        """All fields by flag, for JSON."""
        return flatten(self.as_dict())

    def replace(self, **changes: object) -> "RunConfig":
        """A copy with some fields changed, by their flags; values are converted like those of a file."""
        return make_config({**self.flat(), **flatten(changes)})


def _plain(value: object) -> object:
    """Convert tables and mappings to dictionaries and tuples to lists, as after a round trip through JSON."""
    if isinstance(value, Budget):
        return value.limits()
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


TABLES: dict[str, type] = {name: kind for name, kind in hints_of(RunConfig).items() if hasattr(kind, "FLAGS")}
"""The fields that are tables."""


def _places() -> Iterator[tuple[str, tuple[str, str]]]:
    for one in dataclasses.fields(RunConfig):
        if one.name not in TABLES:
            yield one.name, ("", one.name)
            continue
        for inner in dataclasses.fields(TABLES[one.name]):
            yield _flag(one.name, inner.name), (one.name, inner.name)


def _flag(table: str, name: str) -> str:
    return getattr(TABLES[table], "FLAGS", {}).get(name, name)


LISTED = {"augment": "views"}
"""By flag, what `didact list` calls the values that may be chosen."""
PLACES = dict(_places())
"""The table and name of each field by flag; the table is empty for `RunConfig` itself."""


def flags() -> tuple[str, ...]:
    """The flags of all fields.

    Raises:
        ConfigError: Two fields have the same flag.
    """
    found = [flag for flag, _ in _places()]
    twice = sorted({flag for flag in found if found.count(flag) > 1 or flag in SHORTHANDS or flag in ALIASES})
    if twice:
        raise ConfigError(f"Several fields of a run have the flag {', '.join(twice)}; rename all but one.")
    return tuple(found)


def flatten(values: Values) -> Document:
    """Values by flag, from flags or tables; later values override earlier ones.

    Args:
        values: by flag, or a mapping by the name of a table.

    Raises:
        ConfigError: A name is unknown (the message suggests the nearest), or a field is given by two names.
    """
    found: Document = {}
    for name, value in resolve_aliases(values).items():
        if name in TABLES and isinstance(value, Mapping):
            found.update(_opened(name, value))
        elif name in PLACES or name in SHORTHANDS:
            found[name] = value
        else:
            raise ConfigError(f"There is no option {name!r}. {nearest(name, (*PLACES, *SHORTHANDS, *TABLES))}")
    return found


def _opened(table: str, values: Values) -> Document:
    known = [one.name for one in dataclasses.fields(TABLES[table])]
    for name in values:
        if name not in known:
            raise ConfigError(f"The table {table} has no {name!r}. {nearest(str(name), known)}")
    # The flag of `source` is the name of its table, so that a table there would be taken for that one.
    mixed = {"source": join_mixture(values["source"])} if table == "data" and "source" in values else {}
    return {_flag(table, name): value for name, value in {**values, **mixed}.items()}


def resolve_aliases(values: Values) -> Document:
    """Values by the names of their fields.

    Args:
        values: by the names of fields or by `ALIASES`.

    Raises:
        ConfigError: A field is there by two names, each of which may have another value.
    """
    for other, name in ALIASES.items():
        if {other, name} <= values.keys():
            raise ConfigError(f"{other} and {name} are both given, but mean the same; give only {name}.")
    return {ALIASES.get(name, name): value for name, value in values.items()}


def make_config(values: Values) -> RunConfig:
    """Make a configuration from strings or values by name.

    Args:
        values: by flag, or in tables; `steps`, `epochs` and `seconds` are a budget on that axis.

    Returns:
        The configuration, checked.

    Raises:
        ConfigError: A name is unknown (the message suggests the nearest), a value is invalid, or `method` is missing.
    """
    flat = flatten(values)
    if "method" not in flat:
        raise ConfigError("method is not given; name one, such as distill. `didact list` shows them all.")
    given: dict[str, Document] = {table: {} for table in ("", *TABLES)}
    for flag, (table, name) in PLACES.items():
        if flag in flat and flag != "budget":
            hint = hints_of(TABLES.get(table, RunConfig))[name]
            value = _WORDED.get(flag, lambda _flag, value: value)(flag, flat[flag])
            listed = LISTED.get(flag, "")
            nested = hint in (Sampling, EngineConfig, EnvironmentConfig)
            given[table][name] = _nested(flag, value, hint) if nested else convert(flag, value, hint, listed=listed)
    if budget := _budget(flat):
        given[""]["budget"] = budget
    own = given.pop("")
    return RunConfig(**own, **{table: TABLES[table](**inner) for table, inner in given.items()})


def _nested(flag: str, table: Values, kind: type) -> object:
    """A table that is one flag."""
    hints = hints_of(kind)
    for name in table:
        if name not in hints:
            raise ConfigError(f"{flag} has no {name!r}. {nearest(name, hints)}")
    return kind(**{name: convert(f"{flag}'s {name}", value, hints[name]) for name, value in table.items()})


def _budget(flat: Values) -> Budget | None:
    """The given budget; None if there is none."""
    given = flat.get("budget") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"budget is {given!r}, but must be a table such as {{steps = 500}}.")
    merged = {**given, **{axis: flat[axis] for axis in SHORTHANDS if flat.get(axis) is not None}}
    hints = hints_of(Budget)
    for axis in merged:
        if axis not in hints:
            raise ConfigError(f"budget has no axis {axis!r}. {nearest(axis, hints)}")
    limits = {axis: convert(f"The budget of {axis}", amount, hints[axis]) for axis, amount in merged.items()}
    return Budget(**limits) if limits else None
