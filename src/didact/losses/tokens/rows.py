"""The completion tokens of a batch of sequences, and terms over them.

Axis letters: B rows of the batch, T positions, N selected tokens, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import ConfigError, DataError, check_choice
from didact.types import Batch, Head, Signal, Term, TokenOutput

NORMALISATIONS = ("token", "sequence", "constant")
"""The aggregation of a loss: over all tokens alike, first within each sequence, or divided by a constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPositions:
    """The positions of the completion tokens of a batch.

    Where selection would make the host wait for the device (on a GPU, whose mask the host does not know), all positions
    are kept, and `weight` marks those that count.
    """

    targets: Tensor
    """int64 [N]: the tokens."""
    row: Tensor
    """int64 [N]: the row of the batch of each."""
    position: Tensor
    """int64 [N]: its index in the flattened [B * T]."""
    weight: Tensor | None
    """float32 [N], 1 for tokens that count and 0 for others; None where all count."""
    size: int
    """The number of rows, B."""

    def pick(self, tensor: Tensor) -> Tensor:
        """The entries of a tensor [B, T, ...] at the tokens, [N, ...]."""
        return tensor.flatten(0, 1).index_select(0, self.position)

    def pick_signal(self, signal: Signal) -> Signal:
        """A teacher's prediction of each token, [N]: the row of a signal [B, T] one position before."""
        return signal.flatten().rows(self.position - 1)

    def spread(self, tensor: Tensor) -> Tensor:
        """The entries of a tensor [B, ...] at each token's row, [N, ...]."""
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
        """The mean of values [N] within rows, weighted by `weights(weight)`: [B]; NaN where nothing counts."""
        weight = self.weights(weight)
        weight = torch.ones_like(values) if weight is None else weight
        sums, counts = (
            found.new_zeros(self.size).index_add(0, self.row, found) for found in (values.nan_to_num() * weight, weight)
        )
        return sums / counts

    def lengths(self) -> Tensor:
        """The number of tokens of each row that count: float32 [B]."""
        return self.sums(torch.ones_like(self.row, dtype=torch.float32))

    def term(
        self, values: Tensor, *, by: str = "token", weight: Tensor | None = None, longest: Tensor | None = None
    ) -> Term:
        """Values [N] as a term of a loss.

        Args:
            values: one per token.
            by: `token` counts tokens; `sequence` takes the mean within each row first, and counts the rows that have
                any; `constant` divides by `longest`, however many tokens there are (Liu et al. 2025, Dr. GRPO).
            weight: float [N], of each token.
            longest: float [B], the largest number of tokens that each row may have; only with `constant`.

        Raises:
            ConfigError: an unknown `by`, or `constant` without `longest`.
        """
        check_choice("by", by, NORMALISATIONS)
        weight = self.weights(weight)
        weighted = values if weight is None else values * weight

        def rows() -> Tensor:
            return self.means(values, weight)

        if by == "token":
            return Term(weighted.sum(), len(values) if weight is None else weight.sum(), rows=rows)
        if by == "constant":
            if longest is None:
                raise ConfigError("by is 'constant', but longest is None; give the largest length of each row.")
            return Term(weighted.sum(), longest.sum(), rows=rows)
        counted = torch.ones_like(values) if weight is None else weight
        lengths = counted.new_zeros(self.size).index_add(0, self.row, counted)
        return Term((weighted / self.spread(lengths).clamp(min=1.0)).sum(), (lengths > 0).sum(), rows=rows)

    def per_example(self, term: Term, weight: Tensor | None = None) -> Term:
        """Replace the rows of a term over tokens [N] by the mean loss of each row of the batch.

        Args:
            term: of a function such as `token_cross_entropy`.
            weight: float [N], the term's weight; the rows' own where it had none.
        """

        def rows() -> Tensor | None:
            return None if term.rows is None else self.means(term.rows, weight)

        return Term(term.sum, term.count, term.weight, rows=rows, group=term.group)

    def metric(self, values: Tensor, weight: Tensor | None = None) -> Term:
        """A metric of values [N], weighted by others [N]: a term with weight 0 and without a gradient."""
        term = self.term(values.detach(), weight=weight)
        return Term(term.sum, term.count, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionTokens(TokenPositions):
    """The completion tokens of a batch, with the hidden states that they are predicted from."""

    hidden: Tensor
    """[N, D]."""
    head: Head


def metric_term(values: Tensor, weight: Tensor | None = None) -> Term:
    """A metric of values of any shape: a term with weight 0 and without a gradient.

    Args:
        values: float.
        weight: as `values`, at least 0; None weights all equally.
    """
    values = values.detach().float()
    if weight is None:
        return Term(values.sum(), values.numel(), 0.0)
    return Term((values * weight).sum(), weight.sum(), 0.0)


def select_tokens(output: TokenOutput, batch: Batch) -> CompletionTokens:
    """Select the completion tokens of a batch from the output of a language model.

    Args:
        output: the model's.
        batch: with `input_ids` and `completion_mask` [B, T]; the first token of a row is predicted from nothing, and
            is never selected.

    Raises:
        DataError: the batch has no completion token.
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
    position, weight = _picked(mask) if mask.device.type == "cpu" else _weighed(mask)
    return TokenPositions(
        targets=ids.flatten().index_select(0, position),
        row=position.div(length, rounding_mode="floor"),
        position=position,
        weight=weight,
        size=size,
    )


def _picked(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Where the tokens are that a mask [B, T] picks, in the flattened rows; all of them count."""
    size, length = mask.shape
    position = mask[:, 1:].flatten().nonzero()[:, 0]
    position = position + position.div(length - 1, rounding_mode="floor") + 1 if length > 1 else position
    if not len(position):
        raise DataError(
            f"None of the {size} rows of the batch has a completion token; a completion must have at least one."
        )
    return position, None


def _weighed(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """All places but the first of each row of a mask [B, T], and which of them count."""
    position = torch.arange(mask.numel(), device=mask.device).view(mask.shape)[:, 1:].flatten()
    return position, mask[:, 1:].flatten().float()


def token_counts(batch: Batch, keep: Tensor | None = None) -> dict[str, Tensor | float]:
    """The counts of `CompletionTokens.term`, known from the batch alone, by its normalisations.

    Args:
        batch: with `longest` [B] for `constant`.
        keep: float [B] of 0 and 1, the rows whose tokens count; None for all.
    """
    mask = batch["completion_mask"][:, 1:]
    mask = mask if keep is None else mask & (keep > 0)[:, None]
    found: dict[str, Tensor | float] = {"token": mask.sum(), "sequence": mask.any(1).sum()}
    return {**found, "constant": batch["longest"].sum()} if "longest" in batch else found
