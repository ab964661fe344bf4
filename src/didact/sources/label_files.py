"""Labels in a file of their own: by the name of an image, or by the id of a row."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from didact.errors import DataError, import_optional, nearest
from didact.preprocessing.cells import Column, Frame
from didact.sources import tables, targets
from didact.sources.ids import word_of

NAMES = ("id", "file", "name", "image", "path")
"""The columns that may name what is labelled."""
_SHOWN = 5


def read(path: Path, names: Sequence[str], holder: str) -> tuple[str, Column]:
    """Read the labels of named examples.

    Args:
        path: a table with a column of `NAMES`, and one of labels: `label`, `target` or `y`.
        names: of the examples, all different; a file without its folder will do where there is only one of that name.
        holder: what holds the examples, for messages.

    Returns:
        The name of the column of labels; and the labels, a pandas Series [N], missing where the file has none.

    Raises:
        DataError: the file cannot be read, lacks a column, labels a name twice, or labels names that do not occur.
    """
    frame, _ = tables.read(path)
    by, target = (_column(frame, choices, path) for choices in (NAMES, targets.NAMES))
    said = ["" if (word := word_of(cell)) is None else word for cell in frame[by].tolist()]
    if twice := [name for name, count in Counter(said).items() if count > 1]:
        raise DataError(f"{path.name} has {twice[0]!r} in {Counter(said)[twice[0]]} rows; give each one label.")
    places = {name: place for place, name in enumerate(names)}
    alone = Counter(Path(name).name for name in names)
    places = {**{Path(name).name: i for name, i in places.items() if alone[Path(name).name] == 1}, **places}
    if odd := [name for name in said if name not in places]:
        more = ", ..." if len(odd) > _SHOWN else ""
        raise DataError(
            f"{path.name} has labels for {len(odd)} of {len(said)} names that do not occur in {holder}: "
            f"{', '.join(map(repr, odd[:_SHOWN]))}{more}. {nearest(odd[0], places)}"
        )
    pandas = import_optional("pandas", "data", f"Reading {path.name}")
    labels = frame[target].set_axis([places[name] for name in said])
    return target, labels.reindex(pandas.RangeIndex(len(names)))


def add(frame: Frame, path: Path, id_column: str | None, name: str) -> Frame:
    """A table with the labels of a file as another column.

    Args:
        frame: the rows.
        path: the file of labels; see `read`.
        id_column: the column that names the rows.
        name: of the data, for messages.

    Raises:
        DataError: there is no such column, or the table has a column of labels already; see `read`, too.
    """
    if id_column is None or id_column not in frame.columns:
        raise DataError(
            f"labels is {path.name!r}, which names rows by id, but id_column is {id_column!r}; give the column of "
            f"{name} that holds the ids in id_column (--id-column), such as {', '.join(map(str, frame.columns[:3]))}."
        )
    target, labels = read(path, [str(word_of(cell)) for cell in frame[id_column].tolist()], name)
    if target in frame.columns:
        raise DataError(f"{name} has a column {target!r}, and so has {path.name}; drop or rename one.")
    return frame.assign(**{target: labels.set_axis(frame.index)})


def _column(frame: Frame, choices: Sequence[str], path: Path) -> str:
    """The only column of these names."""
    found = [name for name in choices if name in frame.columns]
    if not found:
        raise DataError(
            f"{path.name} has the columns {', '.join(map(str, frame.columns))}; a file of labels needs one called "
            f"{' or '.join(choices)}."
        )
    return found[0]
