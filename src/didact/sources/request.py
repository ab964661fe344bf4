"""What a user asks for when loading data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from didact.errors import check_choice
from didact.preprocessing import TableOptions
from didact.sources.text import Tokenizer
from didact.types import Modality, Standardisation, Task

Size = int | tuple[int, int]
"""A side in pixels, or height and width."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `sources.load`, which describes them."""

    tokenizer: Tokenizer
    target: str | None = None
    id_column: str | None = None
    text_column: str | None = None
    group_column: str | None = None
    time_column: str | None = None
    split_column: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    labels_file: str | None = None
    unlabelled_file: str | None = None
    task: Task | None = None
    columns: TableOptions = field(default_factory=TableOptions)
    skip_bad: bool = False
    image_size: Size | None = None
    split: str | None = None
    modality: Modality | None = None
    standardise: Standardisation = "channel"
    classes: Callable[[], tuple[str, ...]] = tuple

    splitting: bool = field(init=False)
    """Whether a column says how rows are split."""
    files: tuple[tuple[int, str, Path], ...] = field(init=False)
    """The number, the field and the path of each further file; see `marks.FILE` for the numbers."""

    def __post_init__(self) -> None:
        """Refuse words that mean nothing."""
        columns = (self.group_column, self.time_column, self.split_column)
        object.__setattr__(self, "splitting", any(column is not None for column in columns))
        names = (("validation", self.validation_file), ("test", self.test_file), ("unlabelled", self.unlabelled_file))
        given = ((number, field, Path(name)) for number, (field, name) in enumerate(names, 1) if name is not None)
        object.__setattr__(self, "files", tuple(given))
        if self.task is not None:
            check_choice("task", self.task, get_args(Task))
