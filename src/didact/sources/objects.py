"""Data that are given as Python objects: data frames, pairs (x, y), and data sets of torch."""

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from torch.utils.data import default_collate as collate

from didact.documents import Document
from didact.errors import DataError
from didact.preprocessing import TableOptions
from didact.preprocessing.cells import Frame
from didact.sources import series
from didact.sources.arrays import as_array, from_tensors
from didact.sources.loading import from_frame
from didact.types import Examples


def from_object(given: object, reading: Document) -> Examples:
    """Make examples of a Python object.

    Args:
        given: `Examples`; a data frame; a pair (x, y), of which x is a data frame, an array, a tensor or a list, and y
            one of these or a Series; a mapping with `x`, `label` and perhaps `id`; or a `Dataset` of torch that gives
            pairs (x, y), or a `DataLoader` of one. A data set is read once, in the order of its indices.
        reading: the arguments of `sources.load`.

    Raises:
        DataError: It is something else, or cannot be learned from.
    """
    if isinstance(given, Examples):
        return given
    if is_frame(given):
        return from_frame(given, **reading)
    ids = None
    if isinstance(given, Mapping) and {"x", "label"} <= set(given):
        pair, ids = (given["x"], given["label"]), given.get("id")
    elif isinstance(given, DataLoader | Dataset):
        pair = _read(given)
    elif isinstance(given, tuple) and len(given) == 2:
        pair = given
    else:
        raise DataError(
            f"data is {type(given).__name__}, which is not understood; give a name or path, Examples, a data frame, a "
            "pair (x, y), a Dataset or DataLoader of torch that gives pairs (x, y), or a mapping with 'x' and 'label'."
        )
    x, y = pair
    if is_frame(x):
        frame, target = join_target(x, y, reading["target"])
        return from_frame(frame, **{**reading, "target": target})
    columns = None if reading["columns"] == TableOptions() else reading["columns"]
    ids = None if ids is None else as_array(ids, "id")
    said = {name: reading[name] for name in ("task", "modality", "standardise") if name in reading}
    values = series.ragged(x) if said.get("modality") == "series" else None
    values = as_array(x, "x") if values is None else values
    return from_tensors(values, _answers(y), ids=ids, columns=columns, **said)


def is_frame(given: object) -> Any:
    """Whether something is a data frame of pandas, without importing it."""
    return hasattr(given, "iloc") and hasattr(given, "columns")


def join_target(x: Frame, y: Any, target: str | None) -> tuple[Frame, str]:
    """A data frame with its answers as another column.

    Args:
        x: [N, F]; its index is kept.
        y: [N], a Series, an array, a tensor or a list, in the order of the rows.
        target: what the column is to be called; by default the name of the Series, or `label`.

    Returns:
        The data frame and the column's name.

    Raises:
        DataError: The column is there already, or there are not as many answers as rows.
    """
    name = target or str(getattr(y, "name", None) or (y.columns[0] if _is_column(y) else "label"))
    if name in map(str, x.columns):
        raise DataError(
            f"x has a column {name!r}, and y is called so too; leave it out of x, or give another name as target."
        )
    answers = _answers(y)
    if answers.shape != (len(x),):
        shape = list(answers.shape)
        raise DataError(f"x has {len(x)} rows, but y has the shape {shape}; give one answer for each row.")
    return x.assign(**{name: answers.set_axis(x.index) if hasattr(answers, "iloc") else answers}), name


def _is_column(y: Any) -> bool:
    return is_frame(y) and y.shape[1] == 1


def _answers(y: Any) -> Any:
    """Targets [N]: a Series, in the order of its rows, or an array."""
    if _is_column(y):
        y = y.iloc[:, 0]
    return y.reset_index(drop=True) if hasattr(y, "iloc") and not is_frame(y) else as_array(y, "y")


def _read(given: DataLoader[Any] | Dataset[Any]) -> tuple[object, object]:
    """All inputs and all answers of a data set, in the order of its indices."""
    if isinstance(given, DataLoader):
        in_order = isinstance(given.sampler, SequentialSampler | RandomSampler) and given.collate_fn is collate
        plain = in_order and type(given.batch_sampler) is BatchSampler
        if not plain and not isinstance(given.dataset, IterableDataset):
            raise DataError(
                "data is a DataLoader with a sampler or a collate_fn of its own, which didact cannot follow, as it "
                "makes its own batches; give a Dataset, such as torch.utils.data.Subset(dataset, indices)."
            )
        given = given.dataset
    if not isinstance(given, Sized) or isinstance(given, IterableDataset):
        raise DataError(
            f"data is a {type(given).__name__} without a length, whose examples cannot be split; give a Dataset with "
            "__len__ and __getitem__, or a pair (x, y)."
        )
    if isinstance(given, TensorDataset) and len(given.tensors) == 2:
        return given.tensors
    pairs = [given[index] for index in range(len(given))]
    for index, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            held = f"{len(pair)} values" if isinstance(pair, tuple | list) else type(pair).__name__
            raise DataError(
                f"data is a {type(given).__name__} that gives {held} for index {index}, where didact takes (x, y); "
                "wrap it in a Dataset that gives such pairs."
            )
    inputs = [as_array(pair[0], f"x of index {index}") for index, pair in enumerate(pairs)]
    shapes = sorted({array.shape for array in inputs})
    if len(shapes) > 1:
        raise DataError(
            f"data is a {type(given).__name__} whose x have different shapes, such as {list(shapes[0])} and "
            f"{list(shapes[1])}; bring them to one, as by a transform."
        )
    answers = [as_array(pair[1], f"y of index {index}").tolist() for index, pair in enumerate(pairs)]
    return np.stack(inputs) if inputs else np.zeros((0, 1)), answers
