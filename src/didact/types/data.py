"""Data sets in memory: examples, and prompts for language models."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from didact.documents import Document, Values
from didact.types.batches import Batch

Task = Literal["classification", "regression", "embedding", "segmentation"]
"""What is learned: a class, a number, the vector that a teacher makes of an input, or the class of each pixel."""


Item = TypeVar("Item")
Other = TypeVar("Other")

Modality = Literal["table", "image", "series", "text"]
Standardisation = Literal["channel", "series", "none"]
"""How series are scaled: by the training rows of each channel, each series by itself, or not."""


class Preprocessing(Protocol):
    """Turns rows as they came into the inputs of a learner; see `didact.preprocessing`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        ...

    def describe(self) -> Document:
        """All of it, ready for JSON."""
        ...


class Rows(Protocol):
    """N rows as they came, in the order of the examples; see `didact.preprocessing.Rows`."""

    @property
    def hashes(self) -> Tensor:
        """Hashes of the rows' contents, int64 [N]."""
        ...

    def select(self, positions: Tensor) -> "Rows":
        """The rows at positions, int64 [K]."""
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """The unit in which a regression is learned: (value - mean) / std."""

    mean: float
    std: float

    def apply(self, values: Tensor) -> Tensor:
        """Values in the user's unit as float32 in this one; shape kept."""
        return ((values.double() - self.mean) / self.std).float()

    def invert(self, values: Tensor) -> Tensor:
        """Values in this unit as float64 in the user's; shape kept."""
        return values.double() * self.std + self.mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """A finite set of examples, as tensors in memory.

    Examples:
        >>> import torch
        >>> examples = didact.Examples(
        ...     tensors={"x": torch.zeros(4, 2), "label": torch.tensor([0, 1, 0, 1]), "id": torch.arange(4)},
        ...     task="classification", modality="table", classes=("no", "yes"),
        ... )
        >>> examples.size, examples.shape, examples.outputs
        (4, (2,), 2)
    """

    tensors: Mapping[str, Tensor]
    """`x` float32 [N, ...] inputs (images are [N, channels, height, width] in [0, 1], series [N, channels, steps]) or
    `input_ids` and `attention_mask` int64 [N, T]; `label` int64 [N] with `IGNORE`, or float [N] with NaN; `id` int64
    [N]; optionally `group` int64 [N], equal for examples that must stay in one split. A segmentation has the classes of
    pixels in `mask` int64 [N, H, W] with `IGNORE`, and `label` says which images have a mask: 0, or `IGNORE`. A table
    or series whose preprocessing is not fitted yet has `rows` and no `x`."""
    task: Task
    modality: Modality
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the label numbers; of an embedding, of its numbers; empty for a
    regression."""
    scale: Scale | None = None
    """For a regression: the unit of the labels, once it is fitted; None where they are in the user's."""
    preprocessing: Preprocessing | None = None
    """What made the inputs of rows as they came, and makes those of others; None where that is not known yet."""
    rows: Rows | None = None
    """For a table or series that were read: the rows as they came; None otherwise."""
    texts: tuple[str, ...] = ()
    """For text: the N strings."""
    vocabulary: int = 0
    """For text: the size of the vocabulary, V; 0 otherwise."""
    name: str = ""
    """Where they came from, for people."""
    target: str = "label"
    """The column of a table that is predicted."""
    id_column: str = ""
    """The column of a table that names each row; empty where none does."""
    notes: tuple[str, ...] = ()
    """What was decided when they were read, and could have been decided otherwise, as sentences."""

    @property
    def size(self) -> int:
        """The number of examples, N."""
        return self.tensors["id"].shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: `x`'s without N, or (T,) for tokens."""
        return tuple(self.tensors["x" if "x" in self.tensors else "input_ids"].shape[1:])

    @property
    def outputs(self) -> int:
        """The number of a learner's outputs per example or pixel: one per class or number; one for a regression."""
        return 1 if self.task == "regression" else len(self.classes)

    def batch(self, index: Tensor | slice | None = None) -> Batch:
        """The examples at `index` (all of them by default) as a batch."""
        if index is None:
            return Batch(dict(self.tensors))
        return Batch({key: tensor[index] for key, tensor in self.tensors.items()})

    def select(self, index: Tensor) -> "Examples":
        """The examples at positions (int64 [K]) or under a mask (bool [N]); consecutive ones are views."""
        positions = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        consecutive = len(positions) > 0 and bool((positions.diff() == 1).all())
        chosen = slice(int(positions[0]), int(positions[-1]) + 1) if consecutive else positions
        return dataclasses.replace(
            self,
            tensors={key: tensor[chosen] for key, tensor in self.tensors.items()},
            texts=tuple(self.texts[i] for i in positions.tolist()) if self.texts else (),
            rows=None if self.rows is None else self.rows.select(positions),
        )

    def with_tensors(self, **tensors: Tensor) -> "Examples":
        """The same examples with some tensors replaced or added."""
        return dataclasses.replace(self, tensors={**self.tensors, **tensors})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt for a language model, with its reference answer, completions and further data where it has any."""

    id: int
    """Stable across orders and machines, like the ids of a `Batch`."""
    prompt: str
    """The prompt as text. Where `messages` is not empty, the model's chat template renders those instead."""
    messages: tuple[Values, ...] = ()
    """A conversation in place of `prompt`: messages with `role`, `content`, and further keys for the chat template,
    such as `tool_calls` and `name`."""
    tools: tuple[Values, ...] = ()
    """The tools that the model may call, as JSON schemas, for the chat template."""
    template: Values = field(default_factory=dict)
    """Further arguments of the chat template, such as `enable_thinking`."""
    answer: str | None = None
    """The reference answer, which a verifier compares with; None where it is not known."""
    completion: str | None = None
    """A completion to learn from: a demonstration, or the chosen one of a pair."""
    reply: Values = field(default_factory=dict)
    """Further keys of the completion's message, such as `tool_calls` and `reasoning_content`."""
    rejected: str | None = None
    """The rejected completion of a pair."""
    steps: tuple[tuple[int, float], ...] = ()
    """Labels of the steps of the completion: for each the number of characters up to its end, and from 0 (wrong) to 1
    (right)."""
    label: bool | None = None
    """Whether the completion is desirable, in unpaired preference data; None elsewhere."""
    weight: float = 1.0
    """How often it is sampled in training, relative to the others."""
    data: Values = field(default_factory=dict)
    """Further fields of its source, for verifiers: `tests`, `schema`, and so on."""

    @property
    def answered(self) -> bool:
        """Whether there is an answer to learn from: words, or calls of tools."""
        return bool(self.completion or self.reply.get("tool_calls"))


class Lazy(Sequence[Item]):
    """Items that are made anew whenever they are asked for, from rows that stay on the disk.

    Args:
        make: the item at a position.
        places: int64 [N], the positions of the items that are here, in their order.
    """

    def __init__(self, make: Callable[[int], Item], places: np.ndarray) -> None:
        self.make, self.places = make, places

    def __len__(self) -> int:
        """The number of items, N."""
        return len(self.places)

    def __getitem__(self, place: Any) -> Any:
        """One item, or a tuple of them."""
        found = self.places[place]
        return tuple(map(self.make, found.tolist())) if isinstance(place, slice) else self.make(int(found))

    def __iter__(self) -> Iterator[Item]:
        """The items, one after the other."""
        return map(self.make, map(int, self.places))

    def map(self, function: Callable[[Item], Other]) -> "Lazy[Other]":
        """A function of each item."""
        return Lazy(lambda place: function(self.make(place)), self.places)

    def select(self, index: Sequence[int] | np.ndarray) -> "Lazy[Item]":
        """The items at these positions."""
        return Lazy(self.make, self.places[np.asarray(index, dtype=np.int64)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions(Sequence[Question]):
    """A finite set of questions."""

    items: tuple[Question, ...] | Lazy[Question]
    name: str = ""
    """Their source, for display."""
    verifier: str = ""
    """The spec of the verifier that is used by default; empty where there is none."""
    layouts: tuple[str, ...] = ()
    """How their files were read, one sentence per file."""

    def __len__(self) -> int:
        """The number of questions, N."""
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        """One question, or a tuple of them."""
        return self.items[index]

    def select(self, index: Sequence[int] | np.ndarray) -> "Questions":
        """The questions at these positions."""
        if isinstance(self.items, Lazy):
            return dataclasses.replace(self, items=self.items.select(index))
        return dataclasses.replace(self, items=tuple(self.items[i] for i in index))

    def map(self, function: Callable[[Question], Question]) -> "Questions":
        """A function of each question."""
        items = self.items.map(function) if isinstance(self.items, Lazy) else tuple(map(function, self.items))
        return dataclasses.replace(self, items=items)

    @property
    def stored(self) -> bool:
        """Whether the questions stay on the disk, and are read whenever they are asked for."""
        return isinstance(self.items, Lazy)
