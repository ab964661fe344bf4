"""Deliberately bad teachers: a method that learns as well from these as from a good one has shown nothing."""

import math
from typing import Any

import torch
from torch import Tensor

from didact import hashing
from didact.errors import TeacherError, check_range
from didact.teachers.answers import is_target, log_probabilities, scores_of, trust_of
from didact.teachers.base import BaseTeacher, WrappingTeacher
from didact.types import IGNORE, Batch, Features, Labels, Logits, Signal


class RandomTeacher(BaseTeacher):
    """Knows nothing: its logits are normal draws that depend on the example's id and the seed alone.

    The same example always gets the same answer, whatever the order, the batch or the machine.

    Args:
        classes: C, at least 2.
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

    def signal(self, batch: Batch) -> Logits:
        """Logits float32 [B, C], by the batch's `id`."""
        self._count(batch)
        return Logits(logits=normal(batch["id"], self.seed, self.classes) * self.scale)


def normal(ids: Tensor, seed: int, count: int) -> Tensor:
    """Standard normal draws that are functions of an id and a seed, by Box and Muller's transform.

    Args:
        ids: int64 [B].
        seed: any integer.
        count: how many draws for each id, K.

    Returns:
        float32 [B, K].
    """
    pairs = -(-count // 2)
    counter = torch.arange(2 * pairs, device=ids.device)
    keys = hashing.keyed(ids, seed, "random teacher").unsqueeze(-1) + counter
    draws = hashing.uniform(keys, seed, "normal")
    radius, angle = (-2.0 * (-draws[:, :pairs]).log1p()).sqrt(), 2.0 * math.pi * draws[:, pairs:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count].float()


class _Spoiler(WrappingTeacher):
    """Abstract: spoils another teacher's answers about classes."""

    def __init__(self, teacher: Any, *, classes: int | None) -> None:
        super().__init__(teacher)
        self.classes = classes

    def _answer(self, batch: Batch) -> Signal:
        signal = self.teacher.signal(batch)
        if is_target(signal):
            raise TeacherError(
                f"{self.kind} is about classes, but the teacher in it answers with targets of a regression; a "
                "LaggingTeacher is a control for any task."
            )
        return signal


class NoisyTeacher(_Spoiler):
    """Errs on a fixed share of the examples: there the best class and a random other one change places.

    Which examples, and which other class, depends on the example's id and the seed alone. The confidence is the
    teacher's own.

    Args:
        teacher: whose answers these are; `Logits`, `Features` with logits, or `Labels` of classes.
        rate: probability in [0, 1] that an example is spoiled.
        seed: other seeds spoil other examples.
        classes: C, needed only where the teacher answers with hard labels.

    Raises:
        ConfigError: `rate` is out of range.
    """

    kind = "a noisy teacher"

    def __init__(self, teacher: Any, *, rate: float, seed: int = 0, classes: int | None = None) -> None:
        check_range("rate", rate, at_least=0.0, at_most=1.0)
        super().__init__(teacher, classes=classes)
        self.rate, self.seed = rate, seed

    def signal(self, batch: Batch) -> Signal:
        """The teacher's signal, of the same kind, with the spoiled rows changed.

        Raises:
            TeacherError: the answers aren't about classes.
        """
        signal, ids = self._answer(batch), batch["id"]
        spoiled = hashing.uniform(ids, self.seed, "noisy teacher: which") < self.rate
        if isinstance(signal, Labels) and signal.labels.ndim == 1:
            other = self._other(signal.labels, ids, self._classes(signal))
            return Labels(
                labels=torch.where(spoiled & (signal.labels != IGNORE), other, signal.labels), trust=signal.trust
            )
        scores = scores_of(signal)
        if scores is None:
            scores = log_probabilities(signal, self.classes)
        best = scores.argmax(-1)
        swapped = _exchanged(scores, best, self._other(best, ids, scores.shape[-1]))
        return _with_scores(signal, torch.where(spoiled[:, None], swapped, scores))

    def _other(self, best: Tensor, ids: Tensor, classes: int) -> Tensor:
        draw = hashing.uniform(ids, self.seed, "noisy teacher: class")
        return (best + 1 + (draw * (classes - 1)).long()) % classes

    def _classes(self, signal: Signal) -> int:
        return log_probabilities(signal, self.classes).shape[-1]


class AdversarialTeacher(_Spoiler):
    """Is confidently wrong: the probability of the best class is moved to the second best.

    Args:
        teacher: whose answers these are; `Logits`, `Features` with logits, or `Labels` of classes.
        strength: in (0, 1], the share of the best class's probability that is moved.
        classes: C, needed only where the teacher answers with hard labels; the class after the answer is then taken for
            the second best.

    Raises:
        ConfigError: `strength` is out of range.
    """

    kind = "an adversarial teacher"

    def __init__(self, teacher: Any, *, strength: float = 1.0, classes: int | None = None) -> None:
        check_range("strength", strength, above=0.0, at_most=1.0)
        super().__init__(teacher, classes=classes)
        self.strength = strength

    def signal(self, batch: Batch) -> Labels | Features:
        """`Labels` of probabilities [B, C]; `Features` with their logarithms where the teacher gives features.

        Raises:
            TeacherError: the answers aren't about classes.
        """
        signal = self._answer(batch)
        log_probs = log_probabilities(signal, self.classes)
        probs = log_probs.exp()
        best = probs.argmax(-1, keepdim=True)
        moved = probs.gather(-1, best) * self.strength
        # Ties, as after a hard label, go to the class that follows the best.
        later = (torch.arange(probs.shape[-1], device=probs.device) - best) % probs.shape[-1]
        rank = probs.scatter(-1, best, -1.0) - later * torch.finfo(probs.dtype).tiny
        second = rank.argmax(-1, keepdim=True)
        probs = probs.scatter_add(-1, best, -moved).scatter_add(-1, second, moved)
        if isinstance(signal, Features):
            return Features(features=signal.features, logits=probs.clamp(min=1e-30).log(), trust=signal.trust)
        return Labels(labels=probs, trust=trust_of(signal))


def _exchanged(scores: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Scores [B, C] with the entries of the classes `one` and `other` (int64 [B]) changed for each other."""
    pair = torch.stack([one, other], -1)
    return scores.scatter(-1, pair, scores.gather(-1, pair.flip(-1)))


def _with_scores(signal: Signal, scores: Tensor) -> Signal:
    if isinstance(signal, Features):
        return Features(features=signal.features, logits=scores, trust=signal.trust)
    return (
        Labels(labels=scores, trust=signal.trust)
        if isinstance(signal, Labels)
        else Logits(logits=scores, trust=signal.trust)
    )
