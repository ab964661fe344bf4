"""Series as they came, for teachers that were not taught here."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from didact.preprocessing import SeriesPreprocessing, SeriesRows
from didact.teachers.tables import Lookup
from didact.types import Batch, Examples


class RawSeries:
    """The series behind a batch, as they came: what a model from elsewhere was fitted on.

    A series is looked up by its id. Where `x` is another than that of the series, as in a view, it was made up, and is
    brought into the unit of the series that it was made of.

    Args:
        examples: of the run: series that were read, with inputs.
    """

    def __init__(self, examples: Examples) -> None:
        self._known, self._rows = examples.preprocessing, examples.rows
        self._x, self._lookup = examples.tensors["x"].numpy(), Lookup(examples.tensors["id"].numpy())

    def values(self, batch: Batch) -> np.ndarray:
        """The series, float64 [B, channels, T]; what is missing in them is NaN."""
        x, known = batch["x"].detach().double().cpu().numpy(), self._known
        if not isinstance(self._rows, SeriesRows) or not isinstance(known, SeriesPreprocessing):
            return x
        positions, there = self._lookup(batch["id"].cpu().numpy())
        found = self._rows.values[positions].astype(np.float64)
        same = there & (self._x[positions] == x).all(axis=(1, 2))
        mean, std = known.unit(found)
        return found if same.all() else np.where(same[:, None, None], found, x * std + mean)

    def reader(self, preprocessing: SeriesPreprocessing | None = None) -> Callable[[Batch], Tensor]:
        """What gives a teacher its inputs of a batch: the series as they came, or as its own preprocessing has them."""
        return partial(self._read, preprocessing)

    def _read(self, preprocessing: SeriesPreprocessing | None, batch: Batch) -> Tensor:
        values = self.values(batch)
        return torch.from_numpy(values) if preprocessing is None else preprocessing.encode(values).tensors["x"]


def reader_of(examples: Examples) -> Callable[[Batch], Tensor] | None:
    """What gives a teacher from elsewhere the series of these examples as they came; None where they are none."""
    return RawSeries(examples).reader() if examples.modality == "series" else None
