"""Data sets of scikit-learn."""

from collections.abc import Callable
from typing import Any

import torch

from didact import hashing
from didact.errors import MissingExtraError
from didact.preprocessing import plain_table
from didact.types import Examples


def loader(name: str, world: str) -> Callable[..., Any]:
    """The function of `sklearn.datasets` with that name, for a world.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        import sklearn.datasets
    except ImportError:
        raise MissingExtraError("scikit-learn", "data", f"The world {world!r}") from None
    return getattr(sklearn.datasets, name)


def shipped_table(name: str) -> Examples:
    """A table of scikit-learn as examples.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    given = loader(f"load_{name}", name)(**({"scaled": False} if name == "diabetes" else {}))
    x = torch.from_numpy(given.data).float()
    classes = tuple(str(word) for word in getattr(given, "target_names", ()))
    label = torch.from_numpy(given.target)
    return Examples(
        tensors={"x": x, "label": label.long() if classes else label.float(), "id": hashing.of_rows(x)},
        task="classification" if classes else "regression",
        modality="table",
        classes=classes,
        preprocessing=plain_table(map(str, given.feature_names)),
        name=name,
    )
