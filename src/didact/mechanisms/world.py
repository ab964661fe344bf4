"""Students and teachers that are tables: one row of numbers for each example, so that gradients have a closed form."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.teachers import FrozenTeacher
from didact.types import Batch, Method, Terms


class Rows(nn.Module):
    """A row of numbers for each example, and a linear head if there are classes.

    Args:
        table: float [N, D].
        classes: outputs of the head; the row itself is the output without it.
        seed: of the head's weights.
    """

    def __init__(self, table: Tensor, classes: int | None = None, seed: int = 0) -> None:
        super().__init__()
        self.table = nn.Parameter(table.clone())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = None if classes is None else nn.Linear(table[0].numel(), classes)

    def forward(self, row: Tensor) -> Tensor:
        """The rows of a batch, or what the head makes of them."""
        return self.table[row] if self.head is None else self.head(self.table[row].flatten(1))


def student(table: Tensor, classes: int | None = None, seed: int = 0) -> ModuleLearner:
    """A student that is a table."""
    return ModuleLearner(Rows(table, classes, seed), inputs=("row",))


def teacher(table: Tensor, classes: int | None = None, seed: int = 0) -> FrozenTeacher:
    """A teacher that is a table."""
    return FrozenTeacher(student(table, classes, seed))


def normal(*shape: int, seed: int) -> Tensor:
    """Normal numbers from a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(size: int, classes: int, seed: int = 0, **more: Tensor) -> Batch:
    """A batch of rows with random labels."""
    label = torch.randint(classes, (size,), generator=torch.Generator().manual_seed(seed + 77))
    return Batch({"row": torch.arange(size), "id": torch.arange(size) + 1000, "label": label, **more})


def table_of(method: Method) -> Tensor:
    """The table of a method's student."""
    learner = method.learner
    assert isinstance(learner, nn.Module)
    return next(weight for name, weight in learner.named_parameters() if name.endswith("table"))


def gradient(method: Method, batch: Batch, *wanted: str) -> Tensor:
    """The gradient of some terms (all by default), with their weights, with respect to the student's table: [N, D]."""
    terms = method.loss(batch)
    kept = Terms({name: term for name, term in terms.items() if not wanted or name in wanted})
    if not kept:
        return torch.zeros_like(table_of(method))
    (found,) = torch.autograd.grad(kept.total(), [table_of(method)], allow_unused=True)
    return torch.zeros_like(table_of(method)) if found is None else found


def coefficient(found: Tensor, closed: Tensor) -> float:
    """How much of a closed form is in what was found, by least squares; 1 if they are equal."""
    return float((found * closed).sum() / closed.square().sum())


def train(method: Method, batch: Batch, *wanted: str, steps: int, rate: float) -> None:
    """Train all modules of a method with Adam on some terms (all by default)."""
    weights = [weight for module in _modules(method) for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=rate)
    for _ in range(steps):
        terms = method.loss(batch)
        kept = Terms({name: term for name, term in terms.items() if not wanted or name in wanted})
        optimizer.zero_grad(set_to_none=True)
        kept.total().backward()
        optimizer.step()


def _modules(method: Method) -> Iterable[nn.Module]:
    return [module for module in vars(method).values() if isinstance(module, nn.Module)]
