"""Data in memory: examples, and questions for language models."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from didact.documents import Values
from didact.types.batches import Batch

Task = Literal["classification", "regression"]


Modality = Literal["table", "image", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a user's table, and how it lies in `x`."""

    name: str
    categories: tuple[str, ...] = ()
    """The values of a categorical column, each a 0/1 column of `x` in this order; empty for a number."""

    @property
    def width(self) -> int:
        """How many columns of `x` it takes."""
        return len(self.categories) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """A finite set of examples, as tensors in memory."""

    tensors: Mapping[str, Tensor]
    """`x` float32 [N, ...] raw inputs (images are [N, channels, height, width] in [0, 1]) or `input_ids` and
    `attention_mask` int64 [N, T]; `label` int64 [N] with `IGNORE`, or float32 [N] with NaN; `id` int64 [N]; optionally
    `group` int64 [N], the same for examples that must stay in one split."""
    task: Task
    modality: Modality
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the label numbers; empty for a regression."""
    columns: tuple["Column", ...] = ()
    """For a table: what each block of `x`'s columns is; empty otherwise."""
    texts: tuple[str, ...] = ()
    """For text: the N strings."""
    vocabulary: int = 0
    """For text: how many token ids there are, V; 0 otherwise."""
    name: str = ""
    """Where they came from, for people."""

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
        """How many numbers a learner answers with: one a class, or a single one for a regression."""
        return len(self.classes) if self.task == "classification" else 1

    def batch(self, index: Tensor | slice | None = None) -> Batch:
        """The examples at `index` (all of them by default) as a batch."""
        if index is None:
            return Batch(dict(self.tensors))
        return Batch({key: tensor[index] for key, tensor in self.tensors.items()})

    def select(self, index: Tensor) -> "Examples":
        """The examples at the positions in `index` (int64 [K]) or under a mask (bool [N])."""
        positions = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        return dataclasses.replace(
            self,
            tensors={key: tensor[positions] for key, tensor in self.tensors.items()},
            texts=tuple(self.texts[i] for i in positions.tolist()) if self.texts else (),
        )

    def with_tensors(self, **tensors: Tensor) -> "Examples":
        """The same examples with some tensors replaced or added."""
        return dataclasses.replace(self, tensors={**self.tensors, **tensors})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something that a language model is asked, with whatever is known of a good answer."""

    id: int
    """Stable across orders and machines, as `Batch`'s ids."""
    prompt: str
    """What the model is given; rendered by the model's chat template where `messages` is not empty."""
    messages: tuple[Mapping[str, str], ...] = ()
    """A conversation of `role` and `content`, in the place of `prompt`."""
    answer: str | None = None
    """What a verifier compares with; None where nothing is known."""
    completion: str | None = None
    """A whole answer to learn from: a demonstration, or the preferred one of a pair."""
    rejected: str | None = None
    """The other answer of a pair."""
    data: Values = field(default_factory=dict)
    """Whatever else its source holds, for verifiers: `tests`, `schema`, and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions(Sequence[Question]):
    """A finite set of questions."""

    items: tuple[Question, ...]
    name: str = ""
    """Where they came from, for people."""
    verifier: str = ""
    """The verifier that suits them, by its spec, where none is asked for; empty where there is none."""

    def __len__(self) -> int:
        """How many there are, N."""
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        """One question, or a tuple of them."""
        return self.items[index]

    def select(self, index: Sequence[int]) -> "Questions":
        """The questions at these positions."""
        return dataclasses.replace(self, items=tuple(self.items[i] for i in index))
