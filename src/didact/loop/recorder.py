"""The losses of the steps since they were last read, kept on the device until then."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from didact.documents import State
from didact.types import Term, Terms

Reading = tuple[Tensor | float, Tensor | float, float]
"""The sum, count and weight of a term in one step."""


class Recorder:
    """Collects the terms of each step without waiting for the device; reads a window of steps at a time.

    On a CPU, which needs no waiting, it keeps numbers instead of tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.at_once = device.type == "cpu"
        self.watched: frozenset[str] = frozenset()
        """The terms without weight of the window that was read last: its metrics."""
        self.readings: dict[str, list[Reading]] = {}
        self.norms: list[Tensor | float] = []

    def __len__(self) -> int:
        return len(self.norms)

    def add(self, terms: Terms) -> list[Tensor | float]:
        """Record the terms of one optimizer step, before its norm; return their sums, detached."""
        if terms.keys() != self.readings.keys():
            for name in terms.keys() - self.readings.keys():
                self.readings[name] = [_ABSENT] * len(self)
            for name in self.readings.keys() - terms.keys():
                self.readings[name].append(_ABSENT)
        sums: list[Tensor | float] = []
        for name, term in terms.items():
            total, count = (term.sum.item(), _number(term.count)) if self.at_once else (term.sum.detach(), term.count)
            self.readings[name].append((total, count, term.weight))
            sums.append(total)
        return sums

    def read(self) -> tuple[dict[str, Tensor], Tensor]:
        """The window's losses and gradient norms, float64 on the CPU; waits for the device, and starts a new window.

        Returns:
            The mean of each term in each step ([W], NaN where it was absent or had a count of 0) with `total`, the
            weighted sum of those that are present; and the norms [W].
        """
        losses: dict[str, list[float]] = {"total": [0.0] * len(self)}
        watched = set[str]()
        for name, readings in self.readings.items():
            sums, counts, weights = _columns(readings)
            # An empty sum is 0, and its mean is NaN.
            losses[name] = [s / n if n else s * math.inf for s, n in zip(sums, counts, strict=True)]
            # Only absent or empty terms are left out of the total; a loss that is NaN must show.
            terms = zip(losses["total"], losses[name], counts, weights, strict=True)
            losses["total"] = [total + (loss * weight if n else 0.0) for total, loss, n, weight in terms]
            if not any(weights):
                watched.add(name)
        norms, self.watched = _column(self.norms), frozenset(watched)
        self.readings, self.norms = {}, []
        return {name: _tensor(values) for name, values in losses.items()}, _tensor(norms)

    def state_dict(self) -> State:
        """The window so far; waits for the device."""
        terms = {name: list(zip(*_columns(readings), strict=True)) for name, readings in self.readings.items()}
        return {"terms": terms, "norms": _column(self.norms)}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        self.norms = list(state["norms"])
        self.readings = {name: [tuple(reading) for reading in readings] for name, readings in state["terms"].items()}


_ABSENT: Reading = (0.0, 0.0, 0.0)


def _number(count: Tensor | float) -> float:
    return count.item() if isinstance(count, Tensor) else count


def _columns(readings: list[Reading]) -> list[list[float]]:
    """The sums, counts and weights; waits for the device."""
    return [_column(values) for values in zip(*readings, strict=True)]


def _column(values: Sequence[Tensor | float]) -> list[float]:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) == len(values) and tensors:
        return torch.stack(tensors).to("cpu", torch.float64).tolist()
    return [float(value) for value in values]


def _tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def merge(parts: list[Terms]) -> Terms:
    """Merge the terms of the parts of a batch: sums and counts are added, rows concatenated."""
    merged = Terms()
    for name, first in parts[0].items():
        sums, counts = (
            torch.stack([torch.as_tensor(v) for v in column]).sum()
            for column in (
                [part[name].sum.detach() for part in parts],
                [part[name].count for part in parts],
            )
        )
        rows = [found for part in parts if (found := part[name].rows) is not None]
        whole = torch.cat(rows) if len(rows) == len(parts) else None
        merged[name] = Term(sums, counts, first.weight, rows=whole, group=first.group)
    return merged
