"""What a teacher's signal asks of a student."""

from torch import Tensor
from torch.nn import functional as F

from didact.errors import TeacherError, check_range
from didact.losses._precision import LOG_FLOOR
from didact.losses.classes.divergence import forward_kl
from didact.losses.labels.supervised import squared_error
from didact.types import Features, Labels, Logits, Signal, Term


def target_log_probs(signal: Signal, temperature: float, *, classes: int) -> Tensor:
    """A teacher's log-probabilities of the classes, softened.

    Softening probabilities p to p^(1/temperature), normalised, is the same as dividing logits by the temperature.

    Args:
        signal: `Logits`, `Labels` of either kind, or `Features` with logits.
        temperature: above 0; 1 changes nothing.
        classes: the number of classes, C.

    Returns:
        float32 [B, C], finite: no less than `LOG_FLOOR`.

    Raises:
        TeacherError: the signal says nothing about classes.
    """
    check_range("temperature", temperature, above=0.0)
    logits = signal.logits if isinstance(signal, Logits | Features) else None
    if logits is not None:
        scores = logits.float()
    elif isinstance(signal, Labels) and signal.labels.ndim == 2:
        scores = signal.labels.float().log()
    elif isinstance(signal, Labels) and not signal.labels.is_floating_point():
        scores = F.one_hot(signal.labels.clamp(min=0), classes).float().log()
    else:
        raise TeacherError(
            f"The teacher's signal is {type(signal).__name__}, which says nothing about classes; this method needs a "
            "teacher with logits, class probabilities or class labels."
        )
    return F.log_softmax(scores / temperature, -1).clamp(min=LOG_FLOOR)


def target_probs(signal: Signal, temperature: float, *, classes: int) -> Tensor:
    """A teacher's probabilities of the classes, softened: the exponential of `target_log_probs`, float32 [B, C]."""
    return target_log_probs(signal, temperature, classes=classes).exp()


def imitate(logits: Tensor, signal: Signal, *, temperature: float = 1.0) -> Term:
    """The plain loss against a teacher: forward KL for classes, squared error for a regression.

    Args:
        logits: the student's, float [B, C] or [B, 1].
        signal: the teacher's; its trust weighs the examples, and a hard label of `IGNORE` is an abstention.
        temperature: softens both sides; of no consequence for a regression.
    """
    trust = signal.trust
    if isinstance(signal, Labels) and signal.labels.ndim == 1:
        if signal.labels.is_floating_point():
            return squared_error(logits, signal.labels, trust=trust)
        answered = signal.labels >= 0
        trust = answered if trust is None else trust * answered
    log_probs = target_log_probs(signal, temperature, classes=logits.shape[-1])
    return forward_kl(logits, log_probs, temperature=temperature, trust=trust)


def target_features(signal: Signal, tap: str) -> Tensor:
    """What a teacher shows of one of its parts.

    Args:
        signal: `Features`, from a teacher that was asked for them by `tap`.
        tap: the name that it was asked for.

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
