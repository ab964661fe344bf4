"""Losses on next tokens from hidden states and head, without [N, V] scores in memory.

Axis letters: N selected tokens, V vocabulary, D width. Scores are those of the head, its bias, scale and cap included,
over the temperature. Gradients flow to the hidden states, and to the head's weight and bias where they require one; a
frozen head costs nothing in the backward pass. Losses and gradients accumulate in float32 (float64 for float64). Second
derivatives are not supported. To cut off ids that are only padding, use `Head.slice`.
"""

import torch
from torch import Tensor

from didact.errors import TeacherError, check_range
from didact.losses._weigh import weigh
from didact.losses.tokens._fused import fused_log_probs, fused_loss, is_small, to_probs
from didact.losses.tokens._teacher import teacher_scores, token_slices
from didact.losses.tokens.rows import CompletionTokens
from didact.types import LOG_FLOOR, Head, Signal, States, Term


def token_cross_entropy(hidden: Tensor, head: Head, targets: Tensor, weight: Tensor | None = None) -> Term:
    """Cross-entropy of next tokens, in nats.

    Args:
        hidden: float [N, D].
        head: of V ids.
        targets: int64 [N], each in [0, V).
        weight: float [N], 0 or more; None for 1 each. A token of weight 0 is left out.

    Returns:
        The sum over tokens of weight · -log p(target), and the total weight.

    Raises:
        ConfigError: the hidden states don't fit the head.
    """
    if is_small(hidden, head):
        log_probs, _ = fused_log_probs(hidden, head, targets, temperature=1.0, entropy=False)
        return weigh(-log_probs, None if weight is None else weight.detach())

    def objective(scores: Tensor, rows: slice) -> Tensor:
        wanted = targets[rows].unsqueeze(1)
        chosen = scores.gather(1, wanted)
        log_mass, _ = to_probs(scores)
        scores.scatter_add_(1, wanted, -torch.ones_like(chosen))
        return log_mass - chosen.squeeze(1)

    return fused_loss(hidden, head, objective, weight)


def completion_cross_entropy(rows: CompletionTokens, weight: Tensor | None = None) -> Term:
    """Cross-entropy of the completions of a batch, in nats per token.

    Args:
        rows: the tokens of the completions.
        weight: see `token_cross_entropy`; by default that of the rows.

    Returns:
        The sum over tokens, and the total weight; its rows are the means of the rows of the batch.
    """
    weight = rows.weight if weight is None else weight
    return rows.per_example(token_cross_entropy(rows.hidden, rows.head, rows.targets, weight), weight)


def token_log_probs(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The log-probability of each token, and the entropy of its distribution; both differentiable.

    Args:
        hidden: float [N, D].
        head: of V ids.
        targets: int64 [N], each in [0, V).
        temperature: above 0; one for all, or float [N].
        entropy: return entropies too.

    Returns:
        Log-probabilities, float32 [N], in nats; and entropies, float32 [N], in [0, log V], or None.

    Raises:
        ConfigError: the temperature is not above 0, or the hidden states don't fit the head.
    """
    if not isinstance(temperature, Tensor):
        check_range("temperature", temperature, above=0.0)
    return fused_log_probs(hidden, head, targets, temperature=temperature, entropy=entropy)


@torch.no_grad()
def signal_log_probs(
    signal: Signal, targets: Tensor, *, vocabulary: int | None = None, temperature: float | Tensor = 1.0
) -> Tensor:
    """The log-probability of each token under a teacher, without a gradient.

    Args:
        signal: of N tokens.
        targets: int64 [N].
        vocabulary: V, where the signal does not determine it; larger than every target.
        temperature: above 0; one for all, or float [N].

    Returns:
        float32 or wider [N], in nats; `LOG_FLOOR` for an id that a combined teacher does not have.

    Raises:
        TeacherError: the signal has no probabilities of tokens, or V is not known.
    """
    if isinstance(signal, States):
        return token_log_probs(signal.hidden, signal.head, targets, temperature=temperature)[0]
    count = signal.outcomes or vocabulary
    if count is None:
        raise TeacherError(
            f"The teacher gives {type(signal).__name__}, which does not determine the number of tokens; "
            "use one that gives probabilities of all of them."
        )
    theirs, found = teacher_scores(signal, count, temperature), list[Tensor]()
    for rows in token_slices(len(targets), count):
        wanted = targets[rows].unsqueeze(1)
        log_probs = theirs.scores(rows).log_softmax(-1).gather(1, wanted.clamp(max=count - 1))
        found.append(log_probs.where(wanted < count, LOG_FLOOR).clamp_min(LOG_FLOOR).squeeze(1))
    return torch.cat(found)
