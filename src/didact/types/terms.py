"""The terms of a loss: sums and counts, divided once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import DataError

LEAST_COUNT = 1e-12
"""The divisor in place of a count of zero."""


@dataclass(frozen=True, slots=True, init=False)
class Term:
    """One part of a loss: a sum over examples or tokens, and what to divide it by.

    Args:
        sum: scalar.
        count: scalar tensor or number.
        weight: a factor.
        rows: float [B], or a function that computes them; see the property.
        group: the name of a group of parameters.
    """

    sum: Tensor
    """Scalar; carries the gradient."""
    count: Tensor | float
    """The number of examples or tokens in the sum, or their total weight; carries no gradient."""
    weight: float
    """The factor of the mean in the total."""
    group: str | None
    """The parameter group that receives the term's gradient; None for all that the sum depends on."""
    _rows: Tensor | Callable[[], Tensor | None] | None

    def __init__(
        self,
        sum: Tensor,
        count: Tensor | float,
        weight: float = 1.0,
        *,
        rows: Tensor | Callable[[], Tensor | None] | None = None,
        group: str | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "sum", sum)
        put(self, "count", count)
        put(self, "weight", weight)
        put(self, "group", group)
        put(self, "_rows", rows)

    @property
    def rows(self) -> Tensor | None:
        """The loss of each example, float [B], without a gradient; None where the term is not a sum over examples.

        Weighted by the examples' counts (their trust, or their number of tokens where tokens are counted), they add up
        to the sum. They are NaN for examples without a loss, such as those without a label. They are computed on
        access, and cost nothing otherwise.
        """
        with torch.no_grad():
            rows = self._rows if self._rows is None or isinstance(self._rows, Tensor) else self._rows()
        return None if rows is None else rows.detach()

    def times(self, weight: float) -> "Term":
        """Multiply the weight."""
        return Term(self.sum, self.count, self.weight * weight, rows=self._rows, group=self.group)

    def for_group(self, group: str) -> "Term":
        """Send the gradient to one parameter group."""
        return Term(self.sum, self.count, self.weight, rows=self._rows, group=group)

    def mean(self) -> Tensor:
        """The sum over the count; 0 where the count is 0."""
        return self.sum * Term(self.sum, self.count).seed()

    def seed(self, count: Tensor | float | None = None) -> Tensor:
        """The derivative of the total loss with respect to the sum: weight over count.

        Args:
            count: the global count, where this term covers only a part of the batch of the optimizer step.

        Returns:
            Scalar on the sum's device. Finite where the count is 0, since the sum's own derivative is 0 there.
        """
        count = self.count if count is None else count
        if isinstance(count, Tensor):
            seed = count.clamp_min(LEAST_COUNT).reciprocal()
            return seed if self.weight == 1.0 else seed * self.weight
        return self.sum.new_full((), self.weight / max(count, LEAST_COUNT))


class Terms(dict[str, Term]):
    """The terms of a loss by name.

    A term keeps its sum and its count apart until the end, so that a single division by the global count gives the same
    number however the batch was split: into micro-batches, with padding, or over processes.
    """

    def total(self) -> Tensor:
        """The weighted sum of the terms' means: a differentiable scalar."""
        return torch.stack([term.sum * term.seed() for term in self.values()]).sum()

    def rows(self, size: int) -> dict[str, Tensor]:
        """The loss of each example, float [B] without a gradient, by term; NaN where it has none.

        Terms that are not sums over examples, or that cover several copies of each, are left out. `total` is the sum of
        the terms that an example has, each times its weight; it is left out where no term with a weight has rows.

        Args:
            size: the number of examples, B.
        """
        every = {name: rows for name, term in self.items() if (rows := term.rows) is not None}
        found = {name: rows for name, rows in every.items() if len(rows) == size}
        weighed = [found[name] * self[name].weight for name in found if self[name].weight]
        if not weighed:
            return found
        stacked = torch.stack(weighed)
        return {**found, "total": torch.where(stacked.isnan().all(0), torch.nan, stacked.nansum(0))}

    def detach(self, *, rows: bool = False) -> "Terms":
        """The same figures without their graph, and without the tensors that rows are computed from.

        Args:
            rows: compute the rows; they are left out otherwise.
        """
        found = Terms()
        for name, term in self.items():
            kept = term.rows if rows else None
            found[name] = Term(term.sum.detach(), term.count, term.weight, rows=kept, group=term.group)
        return found

    def backward(
        self,
        counts: Mapping[str, Tensor | float] | None = None,
        groups: Mapping[str, Sequence[Tensor]] | None = None,
    ) -> None:
        """Add the gradient of the total to the parameters.

        Starting from the sums, each with weight over count as its gradient, saves the divisions and additions of
        `total` in the graph.

        Args:
            counts: global counts by term, where the batch is only a part of that of the optimizer step.
            groups: the parameters of each group; a term for a group adds its gradient to these alone.

        Raises:
            DataError: no term depends on a trained parameter.
        """
        terms = [(name, term) for name, term in self.items() if term.sum.requires_grad]
        if not terms:
            raise DataError(f"None of the loss's terms ({', '.join(self) or 'none'}) depends on a trained parameter.")
        owners = (None,) if groups is None else dict.fromkeys(term.group for _, term in terms)
        for left, owner in zip(reversed(range(len(owners))), owners, strict=True):
            mine = terms if groups is None else [(name, term) for name, term in terms if term.group == owner]
            inputs = None if groups is None or owner is None else list(groups[owner])
            seeds = [term.seed(None if counts is None else counts[name]) for name, term in mine]
            _backward([term.sum for _, term in mine], seeds, left > 0, inputs)


_run: Callable[..., object] = vars(torch.autograd.Variable)["_execution_engine"].run_backward


def _backward(sums: Sequence[Tensor], seeds: Sequence[Tensor], retain: bool, inputs: Sequence[Tensor] | None) -> None:
    """Run backward as `torch.autograd.backward` does, without its checks.

    Its checks take a tenth of a small net's step. Of them only the configuration of compiled code matters here, which
    threads of other devices need.
    """
    if not all(total.is_cpu for total in sums):
        torch.autograd.backward(sums, seeds, retain_graph=retain, inputs=inputs)
        return
    _run(tuple(sums), tuple(seeds), retain, False, tuple(inputs or ()), allow_unreachable=True, accumulate_grad=True)
