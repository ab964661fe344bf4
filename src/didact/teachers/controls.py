"""Deliberately bad teachers: a method that learns as well from these as from a good one has shown nothing.

What they do to an example depends on its id, and to a token on the id of its sequence and its position, and on a seed:
never on the batch, the order or the machine.
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
    """Knows nothing: its logits are normal draws.

    Args:
        classes: how many classes or tokens it speaks of, V; at least 2.
        scale: standard deviation of the logits, at least 0; 0 is a uniform answer.
        seed: other seeds give unrelated teachers.

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
        """Logits float32 [B, V]; of a batch for language models, [B, T, V] that are drawn when they are looked at."""
        self.count(batch)
        if "completion_mask" not in batch:
            return Logits(logits=self._draw((), batch["id"]))
        keys = row_keys(batch["id"], batch["input_ids"].shape)
        return Derived(function=self._draw, tensors=(keys,), size=self.classes)

    def _draw(self, parts: Sequence[Tensor], keys: Tensor) -> Tensor:
        return normal_draws(keys, self.seed, self.classes) * self.scale


def row_keys(ids: Tensor, shape: Sequence[int]) -> Tensor:
    """A key for each row of a signal, by which chance is decided.

    Args:
        ids: int64 [B].
        shape: of the signal, [B] or [B, T].

    Returns:
        int64 of that shape: of an example its id; of a token a hash of its sequence's id and its position.
    """
    return ids if len(shape) == 1 else hashing.mix(ids)[:, None] + torch.arange(shape[1], device=ids.device)


def normal_draws(keys: Tensor, seed: int, count: int) -> Tensor:
    """Standard normal draws that are functions of a key and a seed, by Box and Muller's transform.

    Args:
        keys: int64 [...].
        seed: any integer.
        count: how many draws for each key, K.

    Returns:
        float32 [..., K].
    """
    pairs = -(-count // 2)
    counter = torch.arange(2 * pairs, device=keys.device)
    draws = hashing.uniform(hashing.keyed_hash(keys, seed, "random teacher").unsqueeze(-1) + counter, seed, "normal")
    radius, angle = (-2.0 * (-draws[..., :pairs]).log1p()).sqrt(), 2.0 * math.pi * draws[..., pairs:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], -1)[..., :count].float()


class NoisyTeacher(WrappingTeacher):
    """Errs on a fixed share of the examples, or tokens: there the best class and a random other one change places.

    The confidence is the teacher's own.

    Args:
        teacher: whose answers these are; about classes or tokens.
        rate: probability in [0, 1] that an answer is spoiled.
        seed: other seeds spoil other answers.
        classes: how many there are, where the teacher's answers about examples don't say it (hard labels, top-k).

    Raises:
        ConfigError: `rate` is out of range.
    """

    kind = "a noisy teacher"

    def __init__(self, teacher: object, *, rate: float, seed: int = 0, classes: int | None = None) -> None:
        check_range("rate", rate, at_least=0.0, at_most=1.0)
        super().__init__(teacher)
        self.rate, self.seed, self.classes = rate, seed, classes

    def _change(self, signal: Signal, batch: Batch) -> Signal:
        """Exchange the best class in the spoiled rows; a `TeacherError` where the answers aren't about classes."""
        keys = row_keys(batch["id"], signal.shape)
        spoiled = hashing.uniform(keys, self.seed, "noisy teacher: which") < self.rate
        draw = hashing.uniform(keys, self.seed, "noisy teacher: class")
        return add_noise(densify(signal, self.classes), spoiled, draw)


class AdversarialTeacher(WrappingTeacher):
    """Is confidently wrong: the probability of the best class, or token, is moved to the second best.

    Args:
        teacher: whose answers these are; about classes or tokens. The second best after a hard label is the next class.
        strength: in (0, 1], the share of the best class's probability that is moved.
        classes: how many there are, where the teacher's answers about examples don't say it (hard labels, top-k).

    Raises:
        ConfigError: `strength` is out of range.
    """

    kind = "an adversarial teacher"

    def __init__(self, teacher: object, *, strength: float = 1.0, classes: int | None = None) -> None:
        check_range("strength", strength, above=0.0, at_most=1.0)
        super().__init__(teacher)
        self.strength, self.classes = strength, classes

    def _change(self, signal: Signal, batch: Batch) -> Signal:
        """Demote the best class; a `TeacherError` where the answers aren't about classes."""
        return demote(densify(signal, self.classes), self.strength)
