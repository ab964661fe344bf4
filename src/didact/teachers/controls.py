"""Controls: deliberately bad teachers, with which a method should learn less than with a good one.

Their effect on an example depends on its id and a seed, that on a token also on its position: never on the batch, the
order or the machine.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from didact import hashing
from didact.errors import check_range
from didact.teachers.base import BaseTeacher, WrappingTeacher
from didact.types import Batch, Derived, Logits, Signal
from didact.types.algebra import add_noise, demote, densify


class RandomTeacher(BaseTeacher):
    """A teacher without knowledge: its logits are normal draws.

    Args:
        classes: the number of classes or tokens, V; at least 2.
        scale: standard deviation of the logits, at least 0; 0 gives uniform distributions.
        seed: different seeds give independent teachers.

    Raises:
        ConfigError: a value out of range.
    """

    kind = "a random teacher"

    def __init__(self, classes: int, *, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        check_range("classes", classes, at_least=2)
        check_range("scale", scale, at_least=0.0, below=math.inf)
        self.classes, self.scale, self.seed = classes, scale, seed

    def signal(self, batch: Batch) -> Logits | Derived:
        """Logits float32 [B, V]; for a batch of sequences, [B, T, V], which are drawn when they are read."""
        self.count(batch)
        if "completion_mask" not in batch:
            return Logits(logits=self._draw((), batch["id"]))
        keys = row_keys(batch["id"], batch["input_ids"].shape)
        return Derived(function=self._draw, tensors=(keys,), size=self.classes)

    def _draw(self, parts: Sequence[Tensor], keys: Tensor) -> Tensor:
        return normal_draws(keys, self.seed, self.classes) * self.scale


def row_keys(ids: Tensor, shape: Sequence[int]) -> Tensor:
    """A key for each row of a signal, from which random draws are derived.

    Args:
        ids: int64 [B].
        shape: of the signal, [B] or [B, T].

    Returns:
        int64 of that shape: for an example its id; for a token a hash of its sequence's id and its position.
    """
    return ids if len(shape) == 1 else hashing.mix(ids)[:, None] + torch.arange(shape[1], device=ids.device)


def normal_draws(keys: Tensor, seed: int, count: int) -> Tensor:
    """Standard normal draws that are functions of a key and a seed, by Box and Muller's transform.

    Args:
        keys: int64 [...].
        seed: any integer.
        count: the number of draws per key, K.

    Returns:
        float32 [..., K].
    """
    pairs = -(-count // 2)
    counter = torch.arange(2 * pairs, device=keys.device)
    draws = hashing.uniform(hashing.keyed_hash(keys, seed, "random teacher").unsqueeze(-1) + counter, seed, "normal")
    radius, angle = (-2.0 * (-draws[..., :pairs]).log1p()).sqrt(), 2.0 * math.pi * draws[..., pairs:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], -1)[..., :count].float()


class NoisyTeacher(WrappingTeacher):
    """Errs on a fixed share of the examples, or tokens: there it swaps the best class with a random other one.

    The confidence is the teacher's own.

    Args:
        teacher: the wrapped teacher, of classes or tokens.
        rate: probability in [0, 1] that a row is corrupted.
        seed: different seeds corrupt different rows.
        classes: the number of classes, where the teacher's signal does not determine it (hard labels, top-k).

    Raises:
        ConfigError: `rate` is out of range.
    """

    kind = "a noisy teacher"

    def __init__(self, teacher: object, *, rate: float, seed: int = 0, classes: int | None = None) -> None:
        check_range("rate", rate, at_least=0.0, at_most=1.0)
        super().__init__(teacher)
        self.rate, self.seed, self.classes = rate, seed, classes

    def _change(self, signal: Signal, batch: Batch) -> Signal:
        """Swap the best class in the corrupted rows; raise `TeacherError` for signals without classes."""
        keys = row_keys(batch["id"], signal.shape)
        spoiled = hashing.uniform(keys, self.seed, "noisy teacher: which") < self.rate
        draw = hashing.uniform(keys, self.seed, "noisy teacher: class")
        return add_noise(densify(signal, self.classes), spoiled, draw)


class AdversarialTeacher(WrappingTeacher):
    """Is confidently wrong: moves the probability of the best class, or token, to the second best.

    Args:
        teacher: the wrapped teacher, of classes or tokens. The second best after a hard label is the next class.
        strength: in (0, 1], the share of the best class's probability that is moved.
        classes: the number of classes, where the teacher's signal does not determine it (hard labels, top-k).

    Raises:
        ConfigError: `strength` is out of range.
    """

    kind = "an adversarial teacher"

    def __init__(self, teacher: object, *, strength: float = 1.0, classes: int | None = None) -> None:
        check_range("strength", strength, above=0.0, at_most=1.0)
        super().__init__(teacher)
        self.strength, self.classes = strength, classes

    def _change(self, signal: Signal, batch: Batch) -> Signal:
        """Demote the best class; raise `TeacherError` for signals without classes."""
        return demote(densify(signal, self.classes), self.strength)
