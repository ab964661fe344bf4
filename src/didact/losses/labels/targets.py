"""Losses of a student against a teacher's signal."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from didact.errors import TeacherError, check_range
from didact.losses.classes.divergence import forward_kl
from didact.losses.features.distances import relative_mse
from didact.losses.labels.supervised import squared_error
from didact.types import EMBEDDING, SILENT, Features, Labels, Signal, Term


@dataclass(frozen=True, kw_only=True)
class SoftTargetConfig:
    """Options of methods that mix `distillation_loss` with the labels' loss."""

    temperature: float = 2.0  # softens the probabilities of both
    alpha: float = 0.9  # weight of the teacher's term; the labels' term gets the rest

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, above=0.0, below=float("inf"))
        check_range("alpha", self.alpha, at_least=0.0, at_most=1.0)


def target_log_probs(signal: Signal, temperature: float, *, classes: int) -> Tensor:
    """A teacher's log-probabilities of the classes, softened.

    Softening probabilities p to p^(1/temperature), normalised, is the same as dividing logits by the temperature.

    Args:
        signal: of classes.
        temperature: above 0; 1 changes nothing.
        classes: the number of classes, C, where the signal does not determine it.

    Returns:
        float32 [B, C], finite: no less than `LOG_FLOOR`.

    Raises:
        TeacherError: the signal has no probabilities of classes.
    """
    check_range("temperature", temperature, above=0.0)
    return signal.log_softmax(temperature, outcomes=classes).float()


def target_probs(signal: Signal, temperature: float, *, classes: int) -> Tensor:
    """A teacher's probabilities of the classes, softened: the exponential of `target_log_probs`, float32 [B, C]."""
    return target_log_probs(signal, temperature, classes=classes).exp()


def distillation_loss(logits: Tensor, signal: Signal, *, temperature: float = 1.0) -> Term:
    """The plain loss against a teacher: forward KL for classes, squared error for a regression or an embedding.

    The squared error of an embedding is in units of the teacher's squared length, so that it is the same whether the
    teacher normalises or not. An encoder that teaches features alone is silent on classes: the loss is 0.

    Args:
        logits: the student's, float [B, C] or [B, 1]; its embedding where the teacher gives one.
        signal: the teacher's; its trust weights the examples, and a hard label of `IGNORE` is an abstention.
        temperature: softens both sides; ignored for a regression and an embedding.
    """
    if isinstance(signal, Features) and EMBEDDING in signal.features:
        return relative_mse(logits, signal.features[EMBEDDING], trust=signal.trust)
    if isinstance(signal, Features) and SILENT in signal.features:
        return Term(logits.sum() * 0.0, len(logits))
    if isinstance(signal, Labels) and signal.is_target:
        return squared_error(logits, signal.labels, trust=signal.trust)
    log_probs = target_log_probs(signal, temperature, classes=logits.shape[-1])
    return forward_kl(logits, log_probs, temperature=temperature, trust=signal.effective_trust)


def group_distillation_loss(
    logits: Tensor, signal: Signal, group: Sequence[int], mask: Tensor, *, temperature: float = 1.0
) -> Term:
    """The `distillation_loss` within a group of classes, whose probabilities are renormalised.

    Args:
        logits: the student's, float [B, C].
        signal: the teacher's, over all classes.
        group: the numbers of the classes.
        mask: bool [B], the examples that count.
        temperature: softens both sides.
    """
    probs = target_probs(signal, 1.0, classes=logits.shape[-1])[:, group]
    within = Labels(labels=probs / probs.sum(-1, keepdim=True), trust=mask.float())
    return distillation_loss(logits[:, group], within, temperature=temperature)


def target_features(signal: Signal, tap: str) -> Tensor:
    """The features of a teacher at a tap.

    Args:
        signal: `Features`, from a teacher whose `tap` was called.
        tap: the name that was given there.

    Returns:
        [B, ...], without a gradient.

    Raises:
        TeacherError: the signal holds no features of that name.
    """
    if not isinstance(signal, Features) or tap not in signal.features:
        shown = ", ".join(signal.features) if isinstance(signal, Features) else ""
        raise TeacherError(
            f"The teacher's signal is {type(signal).__name__}{f' of {shown}' if shown else ''}, which has no features "
            f"{tap!r}; a frozen module, a didact run, a Hugging Face model, an average of the learner or a peer has."
        )
    return signal.features[tap].detach()
