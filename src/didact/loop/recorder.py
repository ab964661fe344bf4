"""The figures of the steps since they were last read, kept on the device until then."""

from collections.abc import Sequence

import torch
from torch import Tensor

from didact.types import Term, Terms


class Recorder:
    """Collect the terms of each step without waiting for the device; read a window of steps at a time."""

    def __init__(self) -> None:
        self.steps: list[Terms] = []
        self.norms: list[Tensor | float] = []

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, terms: Terms, norm: Tensor | float) -> None:
        """Take note of one optimizer step."""
        self.steps.append(Terms({k: Term(term.sum.detach(), term.count, term.weight) for k, term in terms.items()}))
        self.norms.append(norm)

    def read(self) -> tuple[dict[str, Tensor], Tensor]:
        """The window's losses and gradient norms, float64 on the CPU; waits for the device, and starts a new window.

        Returns:
            The mean of each term in each step ([W], NaN where it was absent or had nothing to count) with `total`, the
            weighted sum of those that there are; and the norms [W].
        """
        names = list(dict.fromkeys(name for terms in self.steps for name in terms))
        losses = {name: self._means(name) for name in names}
        weights = {name: torch.tensor([t[name].weight if name in t else 0.0 for t in self.steps]) for name in names}
        # Only an absent or empty term is left out of the total; a loss that is not a number must show.
        parts = [torch.where(self._empty(name), 0.0, losses[name] * weights[name]) for name in names]
        total = torch.stack(parts).sum(0) if parts else torch.zeros(0, dtype=torch.float64)
        norms = _column(self.norms)
        self.__init__()
        return {"total": total, **losses}, norms

    def _means(self, name: str) -> Tensor:
        return self._sums(name) / self._counts(name)

    def _sums(self, name: str) -> Tensor:
        return _column([terms[name].sum if name in terms else 0.0 for terms in self.steps])

    def _counts(self, name: str) -> Tensor:
        return _column([terms[name].count if name in terms else 0.0 for terms in self.steps])

    def _empty(self, name: str) -> Tensor:
        return self._counts(name) == 0


def _column(values: Sequence[Tensor | float]) -> Tensor:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) == len(values) and tensors:
        return torch.stack(tensors).to("cpu", torch.float64)
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def merge(parts: list[Terms]) -> Terms:
    """The terms of a batch that was cut into parts: sums and counts added up."""
    merged = Terms()
    for name, first in parts[0].items():
        sums, counts = (
            torch.stack([torch.as_tensor(v) for v in column]).sum()
            for column in (
                [part[name].sum.detach() for part in parts],
                [part[name].count for part in parts],
            )
        )
        merged[name] = Term(sums, counts, first.weight)
    return merged
