"""The figures of the steps since they were last read, kept on the device until then."""

from collections.abc import Sequence

import torch
from torch import Tensor

from didact.documents import State
from didact.types import Term, Terms

Reading = tuple[Tensor | float, Tensor | float, float]
"""The sum, count and weight of a term in one step."""


class Recorder:
    """Collect the terms of each step without waiting for the device; read a window of steps at a time.

    On a CPU, where nothing has to be waited for, numbers are kept in place of tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.at_once = device.type == "cpu"
        self.watched: frozenset[str] = frozenset()
        """The terms of the window read last that had no weight: figures that are only looked at."""
        self.clear()

    def clear(self) -> None:
        """Start a new window."""
        self.steps: list[dict[str, Reading]] = []
        self.norms: list[Tensor | float] = []

    def __len__(self) -> int:
        return len(self.norms)

    def add(self, terms: Terms) -> list[Tensor | float]:
        """Take note of the terms of one optimizer step; their sums, detached."""
        if self.at_once:
            readings: dict[str, Reading] = {k: (t.sum.item(), _number(t.count), t.weight) for k, t in terms.items()}
        else:
            readings = {k: (t.sum.detach(), t.count, t.weight) for k, t in terms.items()}
        self.steps.append(readings)
        return [reading[0] for reading in readings.values()]

    def read(self) -> tuple[dict[str, Tensor], Tensor]:
        """The window's losses and gradient norms, float64 on the CPU; waits for the device, and starts a new window.

        Returns:
            The mean of each term in each step ([W], NaN where it was absent or had nothing to count) with `total`, the
            weighted sum of those that there are; and the norms [W].
        """
        losses: dict[str, Tensor] = {}
        weighed = {name for step in self.steps for name, reading in step.items() if reading[2]}
        self.watched = frozenset({name for step in self.steps for name in step} - weighed)
        total = torch.zeros(len(self.steps), dtype=torch.float64)
        for name, (sums, counts, weights) in self.columns().items():
            losses[name] = sums / counts
            # Only an absent or empty term is left out of the total; a loss that is not a number must show.
            total += torch.where(counts == 0, 0.0, losses[name] * weights)
        norms = _column(self.norms)
        self.clear()
        return {"total": total, **losses}, norms

    def columns(self) -> dict[str, list[Tensor]]:
        """The sums, counts and weights of each term, each float64 [W] on the CPU; waits for the device."""
        names = dict.fromkeys(name for step in self.steps for name in step)
        return {name: [_column([s.get(name, _ABSENT)[i] for s in self.steps]) for i in range(3)] for name in names}

    def state_dict(self) -> State:
        """The window so far; waits for the device."""
        terms = {name: [column.tolist() for column in columns] for name, columns in self.columns().items()}
        return {"terms": terms, "norms": _column(self.norms).tolist()}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        self.norms = list(state["norms"])
        terms = {name: list(zip(*columns, strict=True)) for name, columns in state["terms"].items()}
        self.steps = [{name: readings[i] for name, readings in terms.items()} for i in range(len(self.norms))]


_ABSENT: Reading = (0.0, 0.0, 0.0)


def _number(count: Tensor | float) -> float:
    return count.item() if isinstance(count, Tensor) else count


def _column(values: Sequence[Tensor | float]) -> Tensor:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) == len(values) and tensors:
        return torch.stack(tensors).to("cpu", torch.float64)
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def merge(parts: list[Terms]) -> Terms:
    """The terms of a batch that was cut into parts: sums and counts added up, rows one after the other."""
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
