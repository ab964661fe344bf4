"""The global random generators of torch, Python and NumPy."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from didact.documents import Document, Values


@contextlib.contextmanager
def seed_generators(seed: int, device: torch.device) -> Iterator[None]:
    """A context that seeds them all, and restores the caller's states at the end."""
    before = generator_states(device)
    try:
        # torch.manual_seed takes as long as a few steps, since it seeds every kind of device.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield
    finally:
        set_generator_states(before, device)


def generator_states(device: torch.device) -> Document:
    """Their states, as tensors, numbers and strings."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss_next},
        "numpy": {
            "kind": str(kind),
            "keys": torch.from_numpy(np.asarray(keys).astype("int64")),
            "rest": [position, has_gauss, gauss],
        },
    }


def set_generator_states(states: Values, device: torch.device) -> None:
    """Restore the result of `generator_states`."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    python, kept = states["python"], states["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state((kept["kind"], kept["keys"].numpy().astype("uint32"), *kept["rest"]))
