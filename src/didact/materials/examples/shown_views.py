"""A few training examples with the views that a run learned from, as a report shows them."""

import base64
import difflib
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact import evaluation
from didact.documents import Document
from didact.experiment.material import Run
from didact.materials.examples.data import ExampleData, select_labelled
from didact.materials.examples.source import sample_of, train_of, views_of
from didact.parts import parse
from didact.parts.part import brought_by
from didact.preprocessing import TablePreprocessing
from didact.sources import ByteTokenizer
from didact.types import MASK, Examples, is_labelled

SHOWN = {"image": 6, "series": 6, "table": 3, "text": 3}
"""How many examples are shown, by what they are."""
SIDE = 96
"""Images are thinned to about this many pixels a side."""
STEPS = 200
"""Series are thinned to about this many steps."""
COLUMNS = 16
"""Columns of a table that are shown, the first ones."""
CHANNELS = 4


def shown_views(run: Run[ExampleData]) -> Document | None:
    """Some examples of the run, plain and in each view; None where the run has neither views nor augmentation.

    Returns:
        `modality`; `columns`, the names of the views; and `rows`, each with the `name` of its class and `cells`: an
        image as PNG in base 64, or lines of numbers from 0 to 1, or (column, value, whether it changed), or (words,
        whether they were there, left out or added).
    """
    augment, views = run.config.batches.augment, views_of(run)
    names = {"plain": None} | ({"augment": augment} if augment != "none" else {}) | views
    if len(names) == 1:
        return None
    batch, train = sample_of(run), train_of(run)
    count = SHOWN[train.modality]
    plain = train.batch(batch["row"][:count])
    key = "input_ids" if train.modality == "text" else "x"
    versions = [plain if name == "plain" else _Of(batch, "" if name == "augment" else f"{name}.") for name in names]
    draw = _DRAWN[train.modality](run, train)
    rows = []
    for i in range(len(plain[key])):
        inputs = [[one[field][i] for field in _FIELDS.get(key, (key,))] for one in versions]
        rows.append({"name": _label(train, plain["label"][i]), "cells": draw(inputs)})
    titles = [name if strength is None else f"{name}: {strength}" for name, strength in names.items()]
    return {"modality": train.modality, "columns": titles, "rows": rows}


def shown_masks(run: Run[ExampleData]) -> Document | None:
    """Some test images with their masks and those of the student, for the report; None where there are none.

    Returns:
        `title`, and what `shown_views` returns of images, where class 0 is black and the last one white.
    """
    test = select_labelled(run.data.splits.test)
    test = test.select(torch.arange(min(SHOWN["image"], test.size)))
    if not test.size:
        return None
    said = evaluation.predict(run.method.delivered, test).logits.argmax(1).view_as(test.tensors[MASK])
    gray = 255 // max(len(test.classes) - 1, 1)
    rows = [
        {"name": "", "cells": [base64.b64encode(png(image)).decode() for image in images]}
        for images in zip(
            (test.tensors["x"] * 255).round().clamp(0, 255).byte(),
            *((mask.clamp(min=0) * gray).byte()[:, None] for mask in (test.tensors[MASK].cpu(), said)),
            strict=True,
        )
    ]
    columns = ["image", "mask", "student"]
    return {"modality": "image", "title": "Masks of some test images", "columns": columns, "rows": rows}


_FIELDS = {"input_ids": ("input_ids", "attention_mask")}
_Versions = list[list[Tensor]]
"""The inputs of one example: plain, then in each view."""


class _Of:
    """The inputs of one view in a batch."""

    def __init__(self, batch: Any, prefix: str) -> None:
        self._batch, self._prefix = batch, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self._batch[self._prefix + name]


def _label(examples: Examples, label: Tensor) -> str:
    if not bool(is_labelled(label)):
        return "no label"
    if examples.task == "classification":
        return examples.classes[int(label)]
    if label.ndim:
        return ""
    return f"{float(label if examples.scale is None else examples.scale.invert(label)):.4g}"


def _of_images(_run: Run[ExampleData], _examples: Examples) -> Callable[[_Versions], list[str]]:
    def draw(versions: _Versions) -> list[str]:
        return [base64.b64encode(png((x * 255).round().clamp(0, 255).byte())).decode() for (x,) in versions]

    return draw


def png(image: Tensor) -> bytes:
    """A PNG file of an image, uint8 [C, H, W]; its first channel alone unless there are three."""
    step = max(-(-max(image.shape[1:]) // SIDE), 1)
    image = image[: 3 if image.shape[0] == 3 else 1, ::step, ::step]
    channels, height, width = image.shape
    rows = image.permute(1, 2, 0).reshape(height, -1).numpy()
    data = np.hstack([np.zeros((height, 1), dtype=np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(body)) + kind + body for kind, body in parts]
    sums = [struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk + checked for chunk, checked in zip(chunks, sums, strict=True))


def _of_series(_run: Run[ExampleData], _examples: Examples) -> Callable[[_Versions], list[list[list[float]]]]:
    def draw(versions: _Versions) -> list[list[list[float]]]:
        thin = torch.stack([x[:CHANNELS, :: max(x.shape[1] // STEPS, 1)] for (x,) in versions])
        low, high = thin.min(), thin.max()
        return ((thin - low) / (high - low).clamp(min=1e-12)).double().round(decimals=3).tolist()

    return draw


def _of_tables(_run: Run[ExampleData], examples: Examples) -> Callable[[_Versions], list[list[list[object]]]]:
    def draw(versions: _Versions) -> list[list[list[object]]]:
        x = torch.stack([x.flatten() for (x,) in versions]).numpy()
        names, cells = _cells(examples, x)
        first = [column[0] for column in cells]
        return [
            [[name, column[i], column[i] != was] for name, column, was in zip(names, cells, first, strict=True)]
            for i in range(len(versions))
        ]

    return draw


def _cells(examples: Examples, x: np.ndarray) -> tuple[list[str], list[list[str]]]:
    """The first columns of rows [K, F]: their names, and for each its K values in words."""
    if isinstance(examples.preprocessing, TablePreprocessing):
        found = list(examples.preprocessing.decode(x).items())
        kept = [column.name for column in examples.preprocessing.columns if column.width][:COLUMNS]
        found = [(name, values) for name, values in found if name in kept]
    else:
        found = [(str(place), x[:, place]) for place in range(min(x.shape[1], COLUMNS))]
    return [name for name, _ in found], [[_word(value) for value in values] for _, values in found]


def _word(value: object) -> str:
    return f"{float(value):.4g}" if isinstance(value, float | np.floating) else str(value)


def _of_texts(run: Run[ExampleData], examples: Examples) -> Callable[[_Versions], list[list[list[str]]]]:
    spec = run.config.student
    own = None if spec.startswith("<") else brought_by(parse(spec, "student"), examples.shape[0])[0]

    def draw(versions: _Versions) -> list[list[list[str]]]:
        plain, *others = [ids[mask > 0].tolist() for ids, mask in versions]
        return [[["same", _words(plain, own)]], *(_difference(plain, ids, own) for ids in others)]

    return draw


def _difference(plain: Sequence[int], ids: Sequence[int], tokenizer: object) -> list[list[str]]:
    """A text in pieces: those that both have, those `removed` from the plain one, and those `added`."""
    pieces: list[list[str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, plain, ids, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(["same", _words(plain[a:b], tokenizer)])
            continue
        given = {"removed": plain[a:b], "added": ids[c:d]}
        pieces += [[name, _words(tokens, tokenizer)] for name, tokens in given.items() if tokens]
    return pieces


def _words(ids: Sequence[int], tokenizer: object) -> str:
    """Tokens as words: bytes without a tokenizer, or what it makes of them; their numbers if it makes nothing."""
    if tokenizer is None:
        return bytes(i - ByteTokenizer.UNK - 1 for i in ids if i > ByteTokenizer.UNK).decode(errors="replace")
    decode = getattr(getattr(tokenizer, "tokenizer", tokenizer), "decode", None)
    return str(decode(ids)) if decode else " ".join(map(str, ids))


_DRAWN: dict[str, Callable[[Run[ExampleData], Examples], Callable[[_Versions], list[Any]]]] = {
    "image": _of_images,
    "series": _of_series,
    "table": _of_tables,
    "text": _of_texts,
}
