"""The tokens that a loss is about, picked out of a batch of sequences.

Axis letters: B rows of the batch, T positions, N tokens that are picked, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import DataError, check_choice
from didact.types import Batch, Head, Signal, Term, TokenOutput

NORMALISATIONS = ("token", "sequence")
"""What a loss is averaged over: all tokens alike, or first within each sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPositions:
    """Where the completion tokens of a batch are.

    Where picking would make the host wait for the device (on a GPU, whose mask the host does not know), all positions
    are kept, and `weight` says which of them count.
    """

    targets: Tensor
    """int64 [N]: the tokens."""
    row: Tensor
    """int64 [N]: which row of the batch each is in."""
    position: Tensor
    """int64 [N]: where it lies in the flattened [B * T]."""
    weight: Tensor | None
    """float32 [N], 1 for what counts; None where everything does."""
    size: int
    """The number of rows, B."""

    def pick(self, tensor: Tensor) -> Tensor:
        """What a tensor [B, T, ...] holds at the tokens themselves, [N, ...]."""
        return tensor.flatten(0, 1).index_select(0, self.position)

    def pick_signal(self, signal: Signal) -> Signal:
        """What a teacher says of each token, [N]: of a signal [B, T], what it says one position before."""
        return signal.flatten().rows(self.position - 1)

    def spread(self, tensor: Tensor) -> Tensor:
        """What a tensor [B, ...] says of each token's row, [N, ...]."""
        return tensor.index_select(0, self.row)

    def weights(self, weight: Tensor | None = None) -> Tensor | None:
        """`weight`, multiplied by another one [N] where one is given."""
        if weight is None or self.weight is None:
            return self.weight if weight is None else weight
        return self.weight * weight

    def sums(self, values: Tensor) -> Tensor:
        """Sum values [N] within rows: [B]."""
        values = values if self.weight is None else values * self.weight
        return values.new_zeros(self.size).index_add(0, self.row, values)

    def means(self, values: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean of values [N] within rows, weighed by `weights(weight)`: [B]; NaN where nothing counts."""
        weight = self.weights(weight)
        weight = torch.ones_like(values) if weight is None else weight
        sums, counts = (
            found.new_zeros(self.size).index_add(0, self.row, found) for found in (values.nan_to_num() * weight, weight)
        )
        return sums / counts

    def lengths(self) -> Tensor:
        """How many tokens of each row count: float32 [B]."""
        return self.sums(torch.ones_like(self.row, dtype=torch.float32))

    def term(self, values: Tensor, *, by: str = "token", weight: Tensor | None = None) -> Term:
        """Values [N] as a term of a loss.

        Args:
            values: one a token.
            by: `token` counts tokens; `sequence` takes the mean within each row first, and counts the rows that have
                any.
            weight: float [N], how much each token counts; only with `token`.

        Raises:
            ConfigError: another `by`.
        """
        check_choice("by", by, NORMALISATIONS)
        weight = self.weights(weight)
        weighted = values if weight is None else values * weight

        def rows() -> Tensor:
            return self.means(values, weight)

        if by == "token":
            return Term(weighted.sum(), len(values) if weight is None else weight.sum(), rows=rows)
        lengths = self.lengths()
        return Term((weighted / self.spread(lengths).clamp(min=1.0)).sum(), (lengths > 0).sum(), rows=rows)

    def per_example(self, term: Term, weight: Tensor | None = None) -> Term:
        """A term over tokens, whose rows are those of tokens [N], with the mean loss of each row of the batch in place.

        Args:
            term: of a function such as `token_cross_entropy`.
            weight: float [N], that the term was given; the rows' own where there was none.
        """

        def rows() -> Tensor | None:
            return None if term.rows is None else self.means(term.rows, weight)

        return Term(term.sum, term.count, term.weight, rows=rows, group=term.group)

    def metric(self, values: Tensor, weight: Tensor | None = None) -> Term:
        """Values [N], weighed by others [N], that are only looked at: a term without weight and without a gradient."""
        term = self.term(values.detach(), weight=weight)
        return Term(term.sum, term.count, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionTokens(TokenPositions):
    """The completion tokens of a batch, with the states that they are predicted from."""

    hidden: Tensor
    """[N, D]."""
    head: Head


def metric_term(values: Tensor, weight: Tensor | None = None) -> Term:
    """Values of whatever shape that are only looked at: a term without weight and without a gradient.

    Args:
        values: float.
        weight: as `values`, at least 0; None counts all alike.
    """
    values = values.detach().float()
    if weight is None:
        return Term(values.sum(), values.numel(), 0.0)
    return Term((values * weight).sum(), weight.sum(), 0.0)


def select_tokens(output: TokenOutput, batch: Batch) -> CompletionTokens:
    """Pick the completion tokens of a batch out of what a language model returned for it.

    Args:
        output: the model's.
        batch: with `input_ids` and `completion_mask` [B, T]; the first token of a row is predicted from nothing, and
            is never picked.

    Raises:
        DataError: no token of the batch is to be learned.
    """
    found = locate_tokens(batch)
    hidden = output.hidden.flatten(0, 1).index_select(0, found.position - 1)
    return CompletionTokens(
        targets=found.targets,
        row=found.row,
        position=found.position,
        weight=found.weight,
        size=found.size,
        hidden=hidden,
        head=output.head,
    )


def locate_tokens(batch: Batch) -> TokenPositions:
    """Find the completion tokens of a batch; see `select_tokens`."""
    ids, mask = batch["input_ids"], batch["completion_mask"]
    size, length = ids.shape
    if mask.device.type == "cpu":
        position = mask[:, 1:].flatten().nonzero()[:, 0]
        position = position + position.div(length - 1, rounding_mode="floor") + 1 if length > 1 else position
        if not len(position):
            raise DataError(
                f"None of the {size} rows of the batch has a completion token; an answer must have at least one token."
            )
        weight = None
    else:
        position = torch.arange(size * length, device=ids.device).view(size, length)[:, 1:].flatten()
        weight = mask[:, 1:].flatten().float()
    return TokenPositions(
        targets=ids.flatten().index_select(0, position),
        row=position.div(length, rounding_mode="floor"),
        position=position,
        weight=weight,
        size=size,
    )


def token_counts(batch: Batch) -> dict[str, Tensor | float]:
    """What `CompletionTokens.term` will divide by, known from the batch alone: by `token`, and by `sequence`."""
    mask = batch["completion_mask"][:, 1:]
    return {"token": mask.sum(), "sequence": mask.any(1).sum()}
