"""A loss beside its transcription: the values and the gradients of both."""

from collections.abc import Iterable

import torch
from torch import Tensor


def same_loss(found: Tensor, expected: Tensor, parameters: Iterable[Tensor], *, rtol=1e-4, atol=1e-6) -> None:
    """Fails unless both scalars agree, and their gradients with respect to each parameter; some must be nonzero."""
    parameters = list(parameters)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    mine, theirs = (
        torch.autograd.grad(one, parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
        for one in (found, expected)
    )
    assert any(slope.any() for slope in theirs)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)
