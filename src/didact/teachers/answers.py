"""Reading any teacher's answer as class probabilities, for the teachers that are made of teachers."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import TeacherError
from didact.types import IGNORE, Features, Labels, Logits, Signal, TopK

_LOG_TINY = math.log(torch.finfo(torch.float32).tiny)


def trust_of(signal: Signal) -> Tensor | None:
    """Trust [B] in [0, 1], or None for full trust; a hard label that is missing counts as abstaining."""
    if isinstance(signal, Labels) and signal.labels.ndim == 1 and not signal.labels.is_floating_point():
        answered = (signal.labels != IGNORE).float()
        return answered if signal.trust is None else answered * signal.trust
    return signal.trust


def is_target(signal: Signal) -> bool:
    """Whether the answer is a regression's: float [B]."""
    return isinstance(signal, Labels) and signal.labels.ndim == 1 and signal.labels.is_floating_point()


def scores_of(signal: Signal) -> Tensor | None:
    """The scores or probabilities [B, C] in the answer; None where it holds none."""
    if isinstance(signal, Logits | Features):
        return signal.logits
    return signal.labels if isinstance(signal, Labels) and signal.labels.ndim == 2 else None


def log_probabilities(signal: Signal, classes: int | None) -> Tensor:
    """The answer as log-probabilities.

    Args:
        signal: `Logits`, `Features` with logits, `Labels` of classes (hard or soft) or `TopK`, whose tail is spread
            evenly over the classes that it doesn't name.
        classes: C, needed where the signal itself doesn't say it (hard labels, top-k).

    Returns:
        float32 [B, C]; a probability of 0 is taken as the smallest normal number, to stay finite. A row without an
        answer is uniform.

    Raises:
        TeacherError: no probabilities of classes can be read from the signal.
    """
    scores = scores_of(signal)
    if isinstance(signal, Logits | Features) and scores is not None:
        return scores.log_softmax(-1, dtype=torch.float32).clamp(min=_LOG_TINY)
    return safe_log((scores if scores is not None else _spread(signal, classes)).float())


def safe_log(probabilities: Tensor) -> Tensor:
    """Logarithm of float32 probabilities, with 0 taken as the smallest normal number."""
    return probabilities.log().clamp(min=_LOG_TINY)


def _spread(signal: Signal, classes: int | None) -> Tensor:
    hard = isinstance(signal, Labels) and not is_target(signal)
    if not hard and not isinstance(signal, TopK):
        raise TeacherError(
            f"The teacher answers with {type(signal).__name__}"
            f"{' of a regression' if is_target(signal) else ' without logits'}, which holds no class probabilities. "
            "Use a teacher that gives logits, labels or probabilities of classes."
        )
    if classes is None:
        raise TeacherError(
            f"The teacher answers with {'hard labels' if hard else 'the top classes only'}, from which the number of "
            "classes can't be told; give it as classes=."
        )
    if isinstance(signal, Labels):
        known = signal.labels != IGNORE
        one_hot = F.one_hot(signal.labels.clamp(min=0), classes).float()
        return torch.where(known[:, None], one_hot, 1.0 / classes)
    assert isinstance(signal, TopK)
    share = signal.tail / max(1, classes - signal.ids.shape[-1])
    spread = share[..., None].expand(*share.shape, classes).clone()
    return spread.scatter_(-1, signal.ids, signal.log_probs.exp())
