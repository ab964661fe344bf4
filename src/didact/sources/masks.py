"""Images with masks beside them: images/NAME.png and masks/NAME.png."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from didact.errors import DataError, import_optional
from didact.sources.images import SUFFIXES, stack_images
from didact.sources.marks import UNLABELLED, marks_of_files
from didact.sources.request import Request, Size
from didact.sources.text import ByteTokenizer
from didact.types import IGNORE, MASK, Examples

IMAGES, MASKS, NAMES = "images", "masks", "classes.txt"
VOID = 255
"""The number of a pixel without a class, unless all pixels are 0 or 255."""


def has_masks(path: Path) -> bool:
    """Whether a folder holds the folders `images` and `masks`."""
    return (path / IMAGES).is_dir() and (path / MASKS).is_dir()


def load_masks(path: Path, request: Request) -> Examples:
    """Read a folder of images and of masks with the same names.

    A mask is a file without loss, of one channel or with a palette, whose values are the numbers of the classes: 0, 1,
    ... and 255 for a pixel without a class. Where all values are 0 and 255, 255 is the class 1. Images without a mask
    are unlabelled. The names of the classes are those of the request, or the lines of `classes.txt`, or their numbers.
    Folders for validation and test are of the same kind, and one of unlabelled images may be any.

    Args:
        path: the folder.
        request: the options of `sources.load`.

    Returns:
        A segmentation.

    Raises:
        DataError: a mask without an image or of another size, an image to test with without one, colours in place of
            numbers, or fewer than two classes.
        MissingExtraError: pillow is not installed.
    """
    if request.labels_file is not None:
        raise DataError(
            f"{path} has masks, which go with no file of labels; put images without a mask into {path / IMAGES} too."
        )
    listed = _listed(path, "data", -1)
    for number, field, folder in request.files:
        listed += _unlabelled(folder, path) if number == UNLABELLED else _listed(folder, field, number)
    items = [(one.name, one.image) for one in listed]
    x, ids, kept = stack_images(items, image_size=request.image_size, skip_bad=request.skip_bad)
    side, listed = (x.shape[2], x.shape[3]), [listed[place] for place in kept.tolist()]
    mask = _numbered(torch.from_numpy(np.stack([_read(one, side, request.image_size) for one in listed])))
    classes = _names(path, mask, request.classes())
    label = torch.where((mask != IGNORE).flatten(1).any(1), 0, IGNORE)
    marks = marks_of_files(torch.tensor([one.file for one in listed])) if request.files else {}
    tensors = {"x": x, MASK: mask, "label": label, "id": ids, **marks}
    return Examples(tensors=tensors, task="segmentation", modality="image", classes=classes, name=path.name)


@dataclass(frozen=True)
class _Listed:
    """An image, its mask if it has one, how it is named in messages, and the number of its folder; see `marks.FILE`."""

    name: str
    image: Path
    mask: Path | None
    file: int


def _listed(folder: Path, field: str, number: int) -> list[_Listed]:
    """The images of a folder with `images` and `masks`, of which those to validate or test with all have a mask."""
    if not has_masks(folder):
        raise DataError(
            f"{field} is {str(folder)!r}, but the data have masks; give a fraction, or a folder with {IMAGES} and "
            f"{MASKS}."
        )
    images, found = (_by_name(folder / part) for part in (IMAGES, MASKS))
    if not images or not found:
        raise DataError(f"{folder / (MASKS if images else IMAGES)} has no images; they end in {', '.join(SUFFIXES)}.")
    if odd := sorted(set(found) - set(images)):
        raise DataError(f"The mask {found[odd[0]].name} has no image of that name in {folder / IMAGES}.")
    if number >= 0 and (bare := [name for name in images if name not in found]):
        raise DataError(
            f"{field} is {str(folder)!r}, where {len(bare)} of {len(images)} images have no mask, first "
            f"{images[bare[0]].name}; put them into the folder of the data, or give them as unlabelled."
        )
    prefix = "" if number < 0 else f"{folder.name}/"
    return [
        _Listed(f"{prefix}{file.relative_to(folder)}", file, found.get(name), number) for name, file in images.items()
    ]


def _unlabelled(folder: Path, path: Path) -> list[_Listed]:
    """The images of a folder without masks, or of its folder `images`."""
    inside = _by_name(folder / IMAGES if has_masks(folder) else folder)
    if not inside:
        raise DataError(f"unlabelled is {str(folder)!r}, but {path} has masks; give a folder of images.")
    return [_Listed(f"{folder.name}/{file.name}", file, None, UNLABELLED) for file in inside.values()]


def images_in(rows: object) -> object:
    """The folder `images` of a folder that also has `masks`; anything else as it is."""
    return Path(rows) / IMAGES if isinstance(rows, str | Path) and has_masks(Path(rows)) else rows


def load_like(rows: object, like: Examples) -> Examples:
    """Read a folder of images and masks for a student that was taught on others.

    Args:
        rows: the path of the folder.
        like: examples of the kind that it was taught on.

    Raises:
        DataError: it is no such folder, or its masks have classes that the student does not know.
    """
    if not isinstance(rows, str | Path) or not has_masks(Path(rows)):
        raise DataError(f"The student answers with masks; give a folder with {IMAGES} and {MASKS} to compare with.")
    side = (like.shape[1], like.shape[2])
    request = Request(tokenizer=ByteTokenizer(3), image_size=side, classes=lambda: like.classes)
    found = load_masks(Path(rows), request)
    if found.shape != like.shape:
        raise DataError(f"The images are of shape {list(found.shape)}, but the student takes {list(like.shape)}.")
    return found


def switch_masks(examples: Examples, name: str) -> Examples:
    """Images whose masks are another of their tensors, int64 [N, H, W]; those with `IGNORE` alone are left out."""
    mask = examples.tensors[name]
    known = (mask != IGNORE).flatten(1).any(1)
    return examples.with_tensors(mask=mask, label=torch.where(known, 0, IGNORE)).select(known)


def _by_name(folder: Path) -> dict[str, Path]:
    """The images in a folder, by their names without an ending."""
    found = dict[str, Path]()
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in SUFFIXES:
            name = str(file.relative_to(folder).with_suffix(""))
            if name in found:
                raise DataError(f"{folder} has two images of the name {name!r}; keep one of them.")
            found[name] = file
    return found


def _read(one: _Listed, side: tuple[int, int], resize: Size | None) -> np.ndarray:
    """The values of a mask, int64 [H, W]; `IGNORE` everywhere where there is none."""
    image, mask = one.image, one.mask
    if mask is None:
        return np.full(side, IGNORE, dtype=np.int64)
    pillow = import_optional("PIL.Image", "vision", "Reading masks", "pillow")
    try:
        with pillow.open(mask) as opened, pillow.open(image) as shown:
            if mask.suffix.lower() in (".jpg", ".jpeg") or opened.mode not in ("1", "L", "P", "I", "I;16"):
                raise DataError(
                    f"The mask {mask.name} has colours ({opened.mode}) or is a JPEG, whose values are not exact; save "
                    "the numbers of the classes as a PNG of one channel."
                )
            if opened.size != shown.size:
                raise DataError(
                    f"The mask {mask.name} is {opened.height} by {opened.width} pixels (height by width), but its "
                    f"image is {shown.height} by {shown.width}; give it a mask of the same size."
                )
            scaled = opened.resize((side[1], side[0]), pillow.Resampling.NEAREST) if resize is not None else opened
            return np.asarray(scaled).astype(np.int64) * (VOID if opened.mode == "1" else 1)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"The mask {mask.name} cannot be read: {error}. Replace it.") from error


def _numbered(values: Tensor) -> Tensor:
    """Values as classes: 255 is none, or the second of two."""
    two = bool(torch.isin(values, torch.tensor([0, VOID, IGNORE])).all()) and bool((values == VOID).any())
    return torch.where(values == VOID, 1 if two else IGNORE, values)


def _names(path: Path, mask: Tensor, given: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes."""
    most = int(mask.max())
    listed = (path / NAMES).read_text(encoding="utf-8").split("\n") if (path / NAMES).is_file() else []
    names = tuple(given) or tuple(line.strip() for line in listed if line.strip())
    names = names or tuple(str(number) for number in range(most + 1))
    if most >= len(names):
        raise DataError(
            f"A mask has the class {most}, but there are {len(names)} names of classes; number them from 0."
        )
    if len(names) < 2:
        raise DataError(f"The masks in {path / MASKS} have a single class; masks need at least two, such as 0 and 1.")
    return names
