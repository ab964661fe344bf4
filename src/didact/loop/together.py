"""Reductions over processes: the sums and counts of terms, and gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from didact.errors import ConfigError
from didact.types import Place, Term, Terms


def reduce_terms(terms: Terms, place: Place, sizes: Sequence[int] = ()) -> Terms:
    """Reduce the terms of each process's rows to those of the whole batch.

    Args:
        terms: those of this process.
        place: its place.
        sizes: the possible numbers of rows of a term, if `rows` are wanted: that of this process, whose rows are
            gathered, and that of the whole batch, if the method compares examples.

    Returns:
        The same terms in every process, with sums and counts over all of them, float64, without a gradient; `rows` are
        those of the whole batch, and None where they are not wanted.

    Raises:
        ConfigError: the processes have different terms.
    """
    names = place.gather_objects(tuple(terms))
    if len(set(names)) > 1:
        raise ConfigError(
            f"The processes have the terms {' and '.join(', '.join(found) for found in dict.fromkeys(names))}; a "
            "method must give the same ones for any rows. Let it learn in one process."
        )
    numbers = [torch.as_tensor(value).detach().double() for t in terms.values() for value in (t.sum, t.count)]
    numbers = [number.to(place.device, copy=True) for number in numbers]
    place.sum(numbers)
    pairs = zip(terms.items(), numbers[::2], numbers[1::2], strict=True)
    return Terms(
        {name: Term(s, n, t.weight, rows=_all_rows(t, place, sizes), group=t.group) for (name, t), s, n in pairs}
    )


def _all_rows(term: Term, place: Place, sizes: Sequence[int]) -> Tensor | None:
    """The rows of the whole batch; a term that compares the examples of all processes already has them."""
    rows = term.rows if sizes else None
    if rows is None or len(rows) not in sizes:
        return None
    return place.gather(rows) if len(rows) == sizes[0] else rows


def reduce_gradients(parameters: Sequence[nn.Parameter], place: Place) -> None:
    """Replace the gradient of each parameter by the sum over all processes, if any of them has one.

    Args:
        parameters: the same in every process.
        place: that of this process.
    """
    there = torch.tensor([float(p.grad is not None) for p in parameters], device=place.device)
    place.sum([there])
    held = [p for p, found in zip(parameters, there.tolist(), strict=True) if found]
    for parameter in held:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for kind in dict.fromkeys(p.dtype for p in held):
        place.sum([p.grad for p in held if p.dtype == kind and p.grad is not None])
