"""Hugging Face data sets: by name, from a folder of files, or as `save_to_disk` left them."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from didact import trusting
from didact.errors import DataError, import_optional, nearest
from didact.sources import encoding, images, tables, targets
from didact.sources.request import Request
from didact.types import Examples


def load(name: str, request: Request) -> Examples:
    """Read a Hugging Face data set.

    A column of images makes images of it, else it is a table or text. Where the target declares its class names, as a
    `ClassLabel` does, their order is kept, and -1 is unlabelled.

    Args:
        name: of a data set on the hub, or a directory.
        request: the options of `sources.load`.

    Returns:
        The examples of one split.

    Raises:
        DataError: the data set cannot be had, has several splits and none is chosen, or cannot be learned from.
        MissingExtraError: datasets is not installed.
    """
    datasets = import_optional("datasets", "data", f"Reading hf:{name}")
    data = open_split(name, request.split)
    pictures = pictures_of(data)
    rest = data.remove_columns(pictures)
    frame = tables.from_arrow(rest.with_format("arrow")[:])
    wanted = (request.target,) if request.target else targets.NAMES
    declared = [tuple(rest.features[c].names) for c in wanted if hasattr(rest.features.get(c), "names")]
    classes = declared[0] if len(declared) == 1 else ()
    if not pictures or request.text_column is not None:
        return encoding.encode(frame, request, name=name, classes=classes)
    if len(pictures) > 1:
        raise DataError(f"{name} has several columns of images: {', '.join(pictures)}; remove all but one.")
    cells = data.cast_column(pictures[0], datasets.Image(decode=False))[pictures[0]]
    return _images(cells, frame, request, name=name, classes=classes)


def pictures_of(data: Any) -> list[str]:
    """The columns of a `datasets.Dataset` that hold images."""
    import datasets

    return [column for column, feature in data.features.items() if isinstance(feature, datasets.Image)]


def open_split(name: str, split: str | None = None) -> Any:
    """Open one split of a Hugging Face data set; `load` says of what, and what is raised.

    Returns:
        A `datasets.Dataset`.
    """
    datasets = import_optional("datasets", "data", f"Reading hf:{name}")
    return _one_split(datasets, _open(datasets, name, split), name, split)


def _open(datasets: Any, name: str, split: str | None) -> Any:
    path = Path(name)
    if path.is_dir():
        _check_addresses(path)
    else:
        trusting.check(f"hf:{name}", "download")
    saved = any((path / file).is_file() for file in ("dataset_dict.json", "state.json"))
    try:
        return datasets.load_from_disk(name) if saved else datasets.load_dataset(name, split=split)
    except Exception as error:  # the library raises many kinds, its own and those of the network
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"hf:{name} (split {split or 'not given'}) cannot be loaded: {reason.rstrip('.')}.") from error


def _check_addresses(folder: Path) -> None:
    """Refuse a folder that would have files from elsewhere downloaded."""
    import yaml

    for file in (folder / "README.md", folder / ".huggingface.yaml"):
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        head = re.match(r"\s*---\r?\n(.*?)\r?\n---", text, re.DOTALL) if file.suffix == ".md" else None
        try:
            described = yaml.safe_load(head[1] if head else "" if file.suffix == ".md" else text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise DataError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}.") from error
        configs = described.get("configs") if isinstance(described, dict) else None
        if found := next((words for words in _words(configs, set()) if "://" in words or words.startswith("//")), None):
            raise DataError(f"{file} asks to download {found!r}; put that file into the folder, and its name there.")


def _words(value: Any, seen: set[int]) -> Iterator[str]:
    """Every string in nested lists and mappings, each of which is looked at once."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list) and id(value) not in seen:
        seen.add(id(value))
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            yield from _words(item, seen)


def _one_split(datasets: Any, data: Any, name: str, split: str | None) -> Any:
    if isinstance(data, datasets.Dataset):
        return data
    if split is None:
        if len(data) != 1:
            raise DataError(f"hf:{name} has the splits {', '.join(data)}; choose one with split (--split).")
        return next(iter(data.values()))
    if split not in data:
        raise DataError(f"hf:{name} has no split {split!r}. {nearest(split, data)}")
    return data[split]


def _images(cells: Any, frame: Any, request: Request, *, name: str, classes: tuple[str, ...]) -> Examples:
    column = encoding.find_target(frame, request, name)
    target = targets.encode_targets(
        frame[column], task=request.task, name=column, missing=request.columns.missing, classes=classes
    )
    ids = encoding.ids_of(frame, request.id_column)
    items = ((f"row {row + 1}", _source(cell)) for row, cell in enumerate(cells))
    x, contents, kept = images.stack_images(items, image_size=request.image_size, skip_bad=request.skip_bad)
    return Examples(
        tensors={"x": x, "label": target.label[kept], "id": contents if ids is None else ids[kept]},
        task=target.task,
        modality="image",
        classes=target.classes,
        name=name,
        notes=target.notes,
    )


def _source(cell: Any) -> Any:
    """The bytes or the path of an image that is stored as either; an empty one cannot be read."""
    if cell is not None and cell.get("bytes") is None and cell.get("path"):
        return cell["path"]
    return io.BytesIO((cell or {}).get("bytes") or b"")
