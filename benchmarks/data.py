"""Batches of digits-sized images: `BatchSource` next to PyTorch's `DataLoader`, plain and augmented.

A run goes through all examples a few times and hands over each batch. The `DataLoader` augments as it is meant to, one
example at a time inside the data set; "then kornia" leaves that out and augments the batch afterwards.
"""

import math
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

import harness

COUNT, BATCH_SIZE, SEED = 1797, 64, 0
DEGREES, SHIFT = 8, 0.06
Triple = tuple[Tensor, ...]
"""Images, labels and ids: of an example, or of a batch."""
Batches = list[Triple]


def tensors() -> Triple:
    """Random images float32 [N, 1, 8, 8], labels and ids; the same at each call."""
    generator = torch.Generator().manual_seed(SEED)
    return (
        torch.rand(COUNT, 1, 8, 8, generator=generator),
        torch.randint(10, (COUNT,), generator=generator),
        torch.arange(COUNT),
    )


def move(x: Tensor) -> Tensor:
    """Rotate and shift one image [1, 8, 8] at random, as `weak` does: by up to 8 degrees and 6% of its side."""
    angle, right, down = torch.empty(3).uniform_(-1, 1).tolist()
    cos, sin = math.cos(math.radians(angle * DEGREES)), math.sin(math.radians(angle * DEGREES))
    # Places are counted from -1 to 1 here, so that the whole side is 2.
    theta = torch.tensor([[[cos, -sin, 2 * SHIFT * right], [sin, cos, 2 * SHIFT * down]]])
    grid = torch.nn.functional.affine_grid(theta, [1, *x.shape], align_corners=False)
    return torch.nn.functional.grid_sample(x[None], grid, align_corners=False)[0]


class Moved(Dataset[Triple]):
    """The examples one at a time, each moved as it is asked for."""

    def __init__(self) -> None:
        self.x, self.label, self.id = tensors()

    def __len__(self) -> int:
        """The number of examples."""
        return COUNT

    def __getitem__(self, index: int) -> Triple:
        """One example."""
        return move(self.x[index]), self.label[index], self.id[index]


def loader(dataset: Dataset[Triple], workers: int) -> DataLoader[Triple]:
    """A shuffling `DataLoader`, its workers kept from one pass to the next."""
    return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def ours(augment: Literal["none", "weak"]) -> Iterator[Triple]:
    """Batches of a `BatchSource`, without end."""
    from didact.sources import BatchSource
    from didact.types import Examples

    x, label, identity = tensors()
    examples = Examples(
        tensors={"x": x, "label": label, "id": identity},
        task="classification",
        modality="image",
        classes=tuple("0123456789"),
    )
    source = BatchSource(examples, batch_size=BATCH_SIZE, seed=SEED, augment=augment)
    return ((batch["x"], batch["label"], batch["id"]) for batch in source)


def passes(count: int, make: Callable[[], Iterable[Triple]]) -> harness.Side:
    """A side that goes through finite batches `count` times."""
    made: list[Iterable[Triple]] = []

    def prepare() -> Iterable[Triple]:
        # Workers are started once, and not on the clock.
        if not made:
            made.append(make())
            for _ in made[0]:
                pass
        return made[0]

    return harness.Side(prepare=prepare, run=lambda batches: [batch for _ in range(count) for batch in batches])


def stream(count: int, make: Callable[[], Iterator[Triple]]) -> harness.Side:
    """A side that takes as many batches as make `count` passes."""
    steps = count * math.ceil(COUNT / BATCH_SIZE)
    return harness.Side(prepare=make, run=lambda batches: [next(batches) for _ in range(steps)])


def check_gathered(results: Mapping[str, Batches]) -> None:
    """Every side handed over every example once a pass, unchanged."""
    x, label, _ = tensors()
    for name, batches in results.items():
        ids = torch.cat([batch[2] for batch in batches])
        assert torch.equal(ids.bincount(), ids.new_full((COUNT,), len(ids) // COUNT)), f"{name} lost examples"
        assert torch.equal(torch.cat([batch[0] for batch in batches]), x[ids]), f"{name} changed an image"
        assert torch.equal(torch.cat([batch[1] for batch in batches]), label[ids]), f"{name} changed a label"


def check_moved(results: Mapping[str, Batches]) -> None:
    """Every side handed over every example once a pass, moved by as much: the same mean and deviation at each pixel.

    The figures of two sides come from other random numbers; at each of the 64 pixels they must agree to within five
    standard errors.
    """
    x, label, _ = tensors()
    figures: dict[str, Tensor] = {}
    for name, batches in results.items():
        ids = torch.cat([batch[2] for batch in batches])
        images = torch.cat([batch[0] for batch in batches])
        assert torch.equal(ids.bincount(), ids.new_full((COUNT,), len(ids) // COUNT)), f"{name} lost examples"
        assert torch.equal(torch.cat([batch[1] for batch in batches]), label[ids]), f"{name} changed a label"
        difference = (images - x[ids]).flatten(1).double()
        figures[name] = torch.stack([difference, difference.square()])
    names = list(figures)
    for name in names[1:]:
        a, b = figures[names[0]], figures[name]
        error = (a.var(1) / a.shape[1] + b.var(1) / b.shape[1]).sqrt()
        worst = ((a.mean(1) - b.mean(1)).abs() / error).max()
        assert worst < 5, f"{name} moves images by other amounts than {names[0]}: {float(worst):.1f} standard errors"


class KorniaAfterwards:
    """The batches of a plain `DataLoader`, each moved by kornia."""

    def __init__(self) -> None:
        from kornia.augmentation import RandomAffine

        self.batches = loader(TensorDataset(*tensors()), 0)
        self.move = RandomAffine(degrees=DEGREES, translate=(SHIFT, SHIFT), p=1.0)

    def __iter__(self) -> Iterator[Triple]:
        """One pass."""
        for x, label, identity in self.batches:
            yield self.move(x), label, identity


def cases(_: Namespace) -> list[harness.Case]:
    """Gathering alone, and gathering with weak augmentation."""
    often, seldom = 5, 1
    gathered = {
        "DataLoader": passes(often, lambda: loader(TensorDataset(*tensors()), 0)),
        "DataLoader, 2 workers": passes(often, lambda: loader(TensorDataset(*tensors()), 2)),
        "BatchSource": stream(often, partial(ours, "none")),
    }
    moved = {
        "DataLoader": passes(seldom, lambda: loader(Moved(), 0)),
        "DataLoader, 2 workers": passes(seldom, lambda: loader(Moved(), 2)),
        **({"DataLoader, then kornia": passes(seldom, KorniaAfterwards)} if find_spec("kornia") else {}),
        "BatchSource": stream(seldom, partial(ours, "weak")),
    }
    return [
        harness.Case(
            name="gather, batch 64",
            sides=gathered,
            bound="DataLoader",
            check=check_gathered,
            units=often * COUNT,
            targets={"BatchSource": 0.2},
        ),
        harness.Case(
            name="gather and augment, batch 64",
            sides=moved,
            bound="DataLoader",
            check=check_moved,
            units=seldom * COUNT,
            targets={"BatchSource": 0.2},
        ),
    ]


if __name__ == "__main__":
    sys.exit(harness.main("data", harness.arguments(__doc__ or ""), cases))
