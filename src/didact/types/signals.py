"""Signals: a teacher's distributions over classes or tokens for a batch.

A signal covers B examples, or B sequences of T tokens: its shape is [B] or [B, T], written [...] below, and each of its
rows is a distribution over V outcomes, which are classes or tokens. `didact.types.algebra` mixes and corrupts signals,
and truncates them to their likeliest outcomes.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.documents import Document
from didact.errors import TeacherError
from didact.types.batches import IGNORE
from didact.types.outputs import Head
from didact.types.scores import log_probs_of


class Signal:
    """Abstract: a teacher's signal for a batch."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[Document]
    trust: Tensor | None

    @property
    def shape(self) -> torch.Size:
        """[B] or [B, T]: the examples or tokens that it covers."""
        raise NotImplementedError

    @property
    def outcomes(self) -> int | None:
        """The number of classes or tokens, V; None where the signal does not determine it."""
        return self.scores().shape[-1]

    @property
    def dense(self) -> bool:
        """Whether it holds its scores, so that operations can be applied to all of them at once."""
        return True

    @property
    def device(self) -> torch.device:
        """The device of its tensors."""
        found: list[torch.device] = []
        self.map(lambda tensor: (found.append(tensor.device), tensor)[1])
        return found[0]

    @property
    def effective_trust(self) -> Tensor | None:
        """The trust in each row, 0 for rows without a signal: float [...] in [0, 1], or None for full trust."""
        return self.trust

    def scores(self, outcomes: int | None = None) -> Tensor:
        """Unnormalised log-probabilities, all of them at once.

        Args:
            outcomes: V, where the signal does not determine it (hard labels, top-k).

        Returns:
            float [..., V]; adding a constant to a row changes nothing, and minus infinity stands for probability 0. A
            row without a signal is uniform.

        Raises:
            TeacherError: the signal has no probabilities of classes or tokens, or V is not known.
        """
        raise TeacherError(
            f"The teacher gives {type(self).__name__}, which holds no probabilities of classes or tokens. Use a "
            "teacher that gives logits, labels or probabilities."
        )

    def log_softmax(self, temperature: float = 1.0, *, outcomes: int | None = None) -> Tensor:
        """Log-probabilities, all of them at once.

        Softening probabilities p to p^(1/temperature), normalised, is the same as dividing logits by the temperature.

        Args:
            temperature: above 0; 1 changes nothing.
            outcomes: see `scores`; likewise what is raised.

        Returns:
            float32 or wider [..., V]; finite, no less than `LOG_FLOOR`.
        """
        return log_probs_of(self.scores(outcomes), temperature)

    def fields(self) -> Document:
        """Its fields, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same signal with a function applied to every tensor that has one entry per row."""
        return type(self)(**{name: _mapped(function, value) for name, value in self.fields().items()})

    def rows(self, index: Tensor | slice) -> Self:
        """The rows at the positions in `index` (int64 [K], or a slice) along the first dimension."""
        if isinstance(index, slice):
            return self.map(lambda tensor: tensor[index])
        return self.map(lambda tensor: tensor.index_select(0, index))

    def flatten(self) -> Self:
        """[B, T] as [B * T]; [B] as it is."""
        return self if len(self.shape) < 2 else self.map(lambda tensor: tensor.flatten(0, 1))

    def upcast(self) -> Self:
        """The same signal with its weights in the dtype of its scores, so that nothing is converted for each chunk."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Logits(Signal):
    """Scores of classes or tokens."""

    logits: Tensor
    """[..., V] float; adding a constant to a row changes nothing."""
    trust: Tensor | None = None
    """float [...] in [0, 1]; 0 is abstaining, None is full trust."""

    @property
    def shape(self) -> torch.Size:
        """[B] or [B, T]."""
        return self.logits.shape[:-1]

    def scores(self, outcomes: int | None = None) -> Tensor:
        """The logits."""
        return self.logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels(Signal):
    """A teacher's labels: classes, tokens, or probabilities of them; or regression targets."""

    labels: Tensor
    """int64 [...] (`IGNORE` is no label); or probabilities float [..., V], which sum to 1; or targets float [B]."""
    trust: Tensor | None = None
    """float [...] in [0, 1]; 0 is abstaining, None is full trust."""

    @property
    def is_target(self) -> bool:
        """Whether these are regression targets."""
        return self.dense and self.labels.ndim == 1

    @property
    def dense(self) -> bool:
        """Whether these are numbers rather than ids of classes or tokens."""
        return self.labels.is_floating_point()

    @property
    def shape(self) -> torch.Size:
        """[B] or [B, T]."""
        return self.labels.shape[:-1] if self.dense and not self.is_target else self.labels.shape

    @property
    def outcomes(self) -> int | None:
        """V; None for hard labels and for targets."""
        return self.labels.shape[-1] if self.dense and not self.is_target else None

    @property
    def effective_trust(self) -> Tensor | None:
        """The trust in each row; 0 where a hard label is `IGNORE`."""
        if self.dense:
            return self.trust
        answered = (self.labels != IGNORE).float()
        return answered if self.trust is None else answered * self.trust

    def scores(self, outcomes: int | None = None) -> Tensor:
        """Logarithms of the probabilities; a hard label has probability 1."""
        if self.is_target:
            raise TeacherError(
                "The teacher gives regression targets, which hold no probabilities of classes or tokens. "
                "Use a teacher of classes."
            )
        if self.dense:
            return self.labels.log()
        known = self.labels != IGNORE
        one_hot = F.one_hot(self.labels.where(known, 0), _known(outcomes, "hard labels")).float().log()
        return torch.where(known.unsqueeze(-1), one_hot, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK(Signal):
    """The K most probable classes or tokens, and the probability of all others."""

    ids: Tensor
    """int64 [..., K], without repetition."""
    log_probs: Tensor
    """float [..., K], natural logarithms."""
    tail: Tensor
    """float [...], the probability of everything else, in [0, 1]."""
    trust: Tensor | None = None
    """float [...] in [0, 1]; 0 is abstaining, None is full trust."""

    @property
    def shape(self) -> torch.Size:
        """[B] or [B, T]."""
        return self.tail.shape

    @property
    def outcomes(self) -> int | None:
        """None: the K do not determine it."""
        return None

    @property
    def dense(self) -> bool:
        """False: most scores are missing."""
        return False

    def scores(self, outcomes: int | None = None) -> Tensor:
        """Log-probabilities; the tail is spread evenly over the other outcomes."""
        count = _known(outcomes, "the likeliest outcomes only")
        there = self.ids < count
        share = self.tail.to(self.log_probs.dtype) / (count - there.sum(-1)).clamp(min=1)
        # An extra column receives the ids beyond the outcomes, and is cut off.
        spread = share.log().unsqueeze(-1).repeat(*[1] * share.ndim, count + 1)
        return spread.scatter(-1, self.ids.where(there, count), self.log_probs)[..., :count]


EMBEDDING = "embedding"
"""The name of the feature [B, D] of teachers that make vectors of inputs, and classify nothing."""
SILENT = "silent"
"""The name of a feature [B], of zeros, of teachers of features that say that they tell no classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features(Signal):
    """A teacher's representations, with its scores where it has some."""

    features: Mapping[str, Tensor]
    """By tap name; each [B, ...]."""
    logits: Tensor | None = None
    """[B, C], from the same forward pass, where the teacher classifies."""
    trust: Tensor | None = None
    """float [B] in [0, 1]."""

    @property
    def shape(self) -> torch.Size:
        """[B]."""
        return next(iter(self.features.values())).shape[:1] if self.logits is None else self.logits.shape[:1]

    def scores(self, outcomes: int | None = None) -> Tensor:
        """The logits."""
        return Signal.scores(self, outcomes) if self.logits is None else self.logits


@dataclass(frozen=True, slots=True, kw_only=True)
class States(Signal):
    """A language model's token distributions, as hidden states and a head."""

    hidden: Tensor
    """[B, T, D]; position t predicts token t + 1."""
    head: Head
    trust: Tensor | None = None
    """float [B, T] in [0, 1]; 0 is abstaining, None is full trust."""

    @property
    def shape(self) -> torch.Size:
        """[B, T], or [N] for selected tokens."""
        return self.hidden.shape[:-1]

    @property
    def outcomes(self) -> int:
        """V, the number of ids that the head scores."""
        return self.head.vocabulary

    @property
    def dense(self) -> bool:
        """No: scores are made when they are needed."""
        return False

    @torch.no_grad()
    def scores(self, outcomes: int | None = None) -> Tensor:
        """Scores in float32 or wider, [..., V]; for few tokens, or small vocabularies. They have no gradient."""
        wide, kind = self.upcast(), self.hidden.device.type
        mixed = torch.is_autocast_enabled(kind)
        with torch.autocast(kind, enabled=False) if mixed else contextlib.nullcontext():
            return wide.head(wide.hidden.to(wide.head.weight.dtype))

    def upcast(self) -> "States":
        """With the head in the dtype of the scores."""
        kind = torch.promote_types(torch.promote_types(self.hidden.dtype, self.head.weight.dtype), torch.float32)
        return dataclasses.replace(self, head=self.head.to(kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived(Signal):
    """A distribution that is computed from others, row by row, when it is read.

    Everything that the function needs is held by row, so that a loss can process a few rows at a time and compute the
    scores of the parts in its own way.
    """

    function: Callable[..., Tensor]
    """Takes a list of the parts' scores, each [..., V], and the tensors; returns scores [..., V]."""
    parts: tuple[Signal, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    """Each [..., *]."""
    size: int | None = None
    """V, where no part determines it."""
    trust: Tensor | None = None
    """float [...] in [0, 1]; 0 is abstaining, None is full trust."""

    @property
    def shape(self) -> torch.Size:
        """[B] or [B, T]: that of the first part, or of the first tensor where there is no part."""
        return self.parts[0].shape if self.parts else self.tensors[0].shape

    @property
    def outcomes(self) -> int | None:
        """V, the smallest of the parts; ids mean the same in all of them."""
        known = [count for part in self.parts if (count := part.outcomes) is not None]
        return min(known, default=self.size)

    @property
    def dense(self) -> bool:
        """No: scores are made when they are needed."""
        return False

    def materialise(self) -> "Logits | Derived":
        """As `Logits` where all its parts hold their scores."""
        ready = bool(self.parts) and all(part.dense for part in self.parts)
        return Logits(logits=self.scores(), trust=self.trust) if ready else self

    def scores(self, outcomes: int | None = None) -> Tensor:
        """The function's result for the parts' scores, for few tokens or small vocabularies."""
        count = self.outcomes or outcomes
        return self.combine([part.scores(count) for part in self.parts])

    @torch.no_grad()
    def combine(self, scores: Sequence[Tensor], rows: slice = slice(None)) -> Tensor:
        """Scores [..., V] from those of the parts at some rows, each [..., V or more]."""
        count = min((part.shape[-1] for part in scores), default=0)
        return self.function([part[..., :count] for part in scores], *(tensor[rows] for tensor in self.tensors))

    def upcast(self) -> "Derived":
        """With the heads of its parts in the dtype of the scores."""
        return dataclasses.replace(self, parts=tuple(part.upcast() for part in self.parts))


@dataclass(frozen=True, slots=True)
class Pending:
    """A signal that may not have arrived yet, like a future."""

    get: Callable[[], Signal]
    """Waits for the signal; called once."""

    def then(self, function: Callable[[Signal], Signal]) -> "Pending":
        """The function's result for the signal, once it arrives."""
        return Pending(lambda: function(self.get()))


StepRewards = tuple[tuple[int, float], ...]
"""The steps of a completion: for each the number of characters up to its end, and its reward or label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """The reward of completions."""

    value: Tensor
    """float [B]; higher is better."""
    trust: Tensor | None = None
    """float [B]; 0 where the verifier abstained."""
    steps: tuple[StepRewards, ...] | None = None
    """The rewards of the steps of each of B completions; None where completions are rewarded as a whole."""


def _mapped(function: Callable[[Tensor], Tensor], value: object) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Signal):
        return value.map(function)
    if isinstance(value, tuple):
        return tuple(_mapped(function, part) for part in value)
    if isinstance(value, Mapping):
        return {name: _mapped(function, part) for name, part in value.items()}
    return value


def _known(outcomes: int | None, what: str) -> int:
    if outcomes is None:
        raise TeacherError(
            f"The teacher gives {what}, which do not determine the number of classes or tokens; use it "
            "where a student or another teacher does, or let it give probabilities."
        )
    return outcomes
