"""Images from files, one folder a class."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import DataError, check_range, import_optional, nearest
from didact.sources import label_files, targets
from didact.sources.marks import UNLABELLED, marks_of_files
from didact.sources.request import Request, Size
from didact.types import IGNORE, Examples

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""The files in a folder that are taken for images; others are left alone."""
_SPLITS = {"train", "val", "validation", "test"}


def load_folder(path: Path, request: Request) -> Examples:
    """Read a folder that has one folder of images for each class.

    Args:
        path: the folder; or one that has such folders for `train`, `val`, `validation` or `test`. Where labels are in a
            file, folders mean nothing.
        request: the options of `sources.load`.

    Returns:
        Images; the classes are the folders' names, sorted (by value where all are numbers).

    Raises:
        DataError: fewer than two classes, a class without images, unreadable images, or different sizes.
        MissingExtraError: pillow is not installed.
    """
    if request.labels_file is not None:
        return _load_labelled(path, Path(request.labels_file), request)
    given = [(number, other) for number, _, other in request.files if number != UNLABELLED]
    parts = [(-1, files_by_class(path, request.split)), *((number, _like(other, path)) for number, other in given)]
    classes = list(parts[0][1])
    for (_, other), (_, found) in zip(given, parts[1:], strict=True):
        if odd := sorted(set(found) - set(classes)):
            raise DataError(
                f"{other} has images of the class {odd[0]!r}, but {path} has none. {nearest(odd[0], classes)}"
            )
    listed = [
        (file, classes.index(name), number)
        for number, found in parts
        for name in classes
        for file in found.get(name, ())
    ]
    for number, _, other in request.files:
        listed += [(file, IGNORE, number) for file in _unlabelled(other, path)] if number == UNLABELLED else []
    items = ((_shown(file, [path, *(other for _, _, other in request.files)]), file) for file, _, _ in listed)
    x, ids, kept = stack_images(items, image_size=request.image_size, skip_bad=request.skip_bad)
    label, number = (torch.tensor([row[place] for row in listed])[kept] for place in (1, 2))
    _refuse_emptied(label[number < 0], classes)
    return Examples(
        tensors={"x": x, "label": label, "id": ids, **(marks_of_files(number) if request.files else {})},
        task="classification",
        modality="image",
        classes=tuple(classes),
        name=path.name,
    )


def _load_labelled(path: Path, labels: Path, request: Request) -> Examples:
    """A folder of images in any folders, whose labels are in a file; those without one are unlabelled."""
    if request.files:
        raise DataError(f"labels is {labels.name!r}, which goes with fractions for validation and test, not folders.")
    files = _files(path if request.split is None else path / request.split)
    if not files:
        raise DataError(f"{path} has no images; those in it must end in {', '.join(SUFFIXES)}.")
    names = [_shown(file, [path]) for file in files]
    column, said = label_files.read(labels, names, path.name)
    target = targets.encode_targets(said, task="classification", name=column)
    items = zip(names, files, strict=True)
    x, ids, kept = stack_images(items, image_size=request.image_size, skip_bad=request.skip_bad)
    tensors = {"x": x, "label": target.label[kept], "id": ids}
    return Examples(tensors=tensors, task="classification", modality="image", classes=target.classes, name=path.name)


def _shown(file: Path, roots: Sequence[Path]) -> str:
    """A file as it is named in messages: without the folder of the data."""
    return str(file.relative_to(next(root for root in roots if file.is_relative_to(root))))


def files_by_class(path: Path, split: str | None) -> dict[str, list[Path]]:
    """The images of each class, whose folders are sorted by name, or by value where all are numbers.

    Args:
        path: a folder with a folder for each class; or one that has such folders for several splits.
        split: which of these; None where there are no splits.

    Raises:
        DataError: fewer than two classes, a class without images, or several splits of which none is chosen.
    """
    path, folders = _choose_split(path, split)
    names = list(folders)
    classes = [names[i] for i in targets.sort_names(names)]
    files = [_files(folders[name]) for name in classes]
    if len(classes) < 2 or not all(files):
        empty = [name for name, inside in zip(classes, files, strict=True) if not inside]
        raise DataError(
            f"{path} must have a folder of images for each of at least two classes, but it has "
            f"{', '.join(classes) or 'none'}{f', and none in {empty[0]}' if empty else ''}."
        )
    return dict(zip(classes, files, strict=True))


def _like(other: Path, path: Path) -> dict[str, list[Path]]:
    """The images of another folder of the same data, which may lack some of their classes."""
    if not other.is_dir():
        raise DataError(f"{path} is a folder of images, but {str(other)!r} is none; give a fraction, or a folder.")
    return {folder.name: files for folder in sorted(other.iterdir()) if folder.is_dir() and (files := _files(folder))}


def _unlabelled(other: Path, path: Path) -> list[Path]:
    """The images of a folder, in whatever folders they lie."""
    found = _files(other) if other.is_dir() else []
    if not found:
        raise DataError(f"unlabelled is {str(other)!r}, but {path} is a folder of images; give a folder with images.")
    return found


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES]


def _choose_split(path: Path, split: str | None) -> tuple[Path, dict[str, Path]]:
    """The folder that holds the classes, and these."""
    folders = {p.name: p for p in sorted(path.iterdir()) if p.is_dir() and not p.name.startswith(".")}
    if split is not None:
        if split not in folders:
            raise DataError(f"{path} has no folder for split {split!r}. {nearest(split, folders)}")
        return _choose_split(folders[split], None)
    if folders and set(folders) <= _SPLITS:
        raise DataError(f"{path} holds the splits {', '.join(folders)}; choose one with split (--split).")
    return path, folders


def _refuse_emptied(label: Tensor, classes: list[str]) -> None:
    for number, count in enumerate(label.bincount(minlength=len(classes)).tolist()):
        if not count:
            raise DataError(f"None of the images of the class {classes[number]!r} can be read; replace them.")


def stack_images(
    items: Iterable[tuple[str, Any]], *, image_size: Size | None, skip_bad: bool, channels: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Read images into one tensor.

    Args:
        items: name, and path or open file, of each.
        image_size: to which they are resized; where None, they must all have the first one's size.
        skip_bad: leave unreadable ones out, with a warning that names and counts them.
        channels: 1 makes all gray, 3 all coloured; where None, they are gray if all of them are.

    Returns:
        float32 [N, C, H, W] in [0, 1], with one channel where all are gray, else three; ids of their pixels, before any
        resizing, int64 [N]; and which of the items these are, int64 [N].

    Raises:
        DataError: unreadable images, or different sizes.
        MissingExtraError: pillow is not installed.
    """
    size = _checked(image_size)
    arrays, ids, kept, bad = list[np.ndarray](), list[Tensor](), list[int](), list[str]()
    for position, (name, source) in enumerate(items):
        image = _open(source)
        if image is None:
            bad.append(name)
            continue
        if size is None:
            size = image.height, image.width
        if image_size is None and size != (image.height, image.width):
            raise DataError(
                f"The image {name} is {image.height} by {image.width} pixels (height by width), but the first is "
                f"{size[0]} by {size[1]}; give image_size (--image-size), to which all are resized."
            )
        # The pixels of one image at a time are in memory beside the small ones that are kept.
        ids.append(hashing.of_bytes([_identity(image)]))
        arrays.append(_resized(image if channels is None else image.convert("L" if channels == 1 else "RGB"), size))
        kept.append(position)
    _report(bad, len(kept) + len(bad), skip_bad)
    return _to_tensor(arrays), torch.cat(ids), torch.tensor(kept)


def _checked(image_size: Size | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    for side in size:
        check_range("image_size", side, at_least=1)
    return size


def _open(source: Any) -> Any:
    """A gray ("L") or colour ("RGB") image, upright; None if it cannot be read or is not a regular file."""
    image_module, ops = (
        import_optional("PIL.Image", "vision", "Reading images", "pillow"),
        import_optional("PIL.ImageOps", "vision", ""),
    )
    if isinstance(source, str | Path) and not Path(source).is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(source) as image:
                image = ops.exif_transpose(image)
                return _plain(image, image_module)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError, Warning):
        return None


def _plain(image: Any, image_module: Any) -> Any:
    if image.mode.startswith("I"):  # pillow would cut 16 bits off at 255 instead of scaling them
        return image_module.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def _identity(image: Any) -> bytes:
    return f"{image.mode}{image.size}".encode() + image.tobytes()


def _resized(image: Any, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    if (image.width, image.height) != (width, height):
        image = image.resize((width, height))
    array = np.array(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _to_tensor(arrays: list[np.ndarray]) -> Tensor:
    """Bytes [C, H, W] of each as float32 [N, C, H, W] in [0, 1]; gray ones are repeated where others are coloured."""
    x = torch.empty(len(arrays), max(map(len, arrays)), *arrays[0].shape[1:])
    for place, array in enumerate(arrays):
        x[place] = torch.from_numpy(array)
    return x.div_(255)


def _report(bad: list[str], total: int, skip_bad: bool) -> None:
    if not bad:
        return
    named = f"{len(bad)} of {total} images cannot be read: {', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''}"
    if len(bad) == total or not skip_bad:
        remedy = "replace them" if len(bad) == total else "replace them, or leave them out with skip_bad (--skip-bad)"
        raise DataError(f"{named}; {remedy}.")
    warnings.warn(f"{named}; they are left out.", stacklevel=2)
