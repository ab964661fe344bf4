"""What scikit-learn ships."""

from collections.abc import Callable
from typing import Any

from didact.errors import MissingExtraError


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
