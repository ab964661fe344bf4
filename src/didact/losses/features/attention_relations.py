"""Relations between tokens by their queries, keys or values, which are comparable between nets of any width.

From "MiniLMv2: Multi-Head Self-Attention Relation Distillation" (Wang et al. 2021, section 3).
B batch, R relation heads, T tokens, D width.
"""

from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses._precision import full_precision
from didact.losses._weigh import weigh
from didact.types import Term

_ABSENT = -1e4
"""The score of a padding token: its probability is 0, and its logarithm finite."""


def token_relations(vectors: Tensor, heads: int, present: Tensor | None = None) -> Tensor:
    """The relation of each token to each other: log softmax of scaled inner products.

    Args:
        vectors: float [B, T, D]; the concatenated queries, or keys, or values of all attention heads. They are split
            anew into `heads` parts, so that nets with different numbers of attention heads can be compared.
        heads: the number of parts, R; a divisor of D.
        present: [B, T], 0 for padding, which nothing is related to; None without padding.

    Returns:
        float32 [B, R, T, T], log-probabilities along the last dimension, finite.

    Raises:
        ConfigError: R does not divide D.
    """
    if heads < 1 or vectors.shape[-1] % heads:
        raise ConfigError(
            f"relation_heads is {heads}, which does not divide a width of {vectors.shape[-1]}; give a divisor of it."
        )
    parts_BRTD = vectors.float().unflatten(-1, (heads, -1)).transpose(1, 2)
    with full_precision(parts_BRTD):
        scores = parts_BRTD @ parts_BRTD.transpose(-1, -2) * parts_BRTD.shape[-1] ** -0.5
    if present is not None:
        scores = scores.masked_fill(present[:, None, None, :] == 0, _ABSENT)
    return F.log_softmax(scores, -1)


def relation_kl(
    student: Tensor, teacher: Tensor, present: Tensor | None = None, *, trust: Tensor | None = None
) -> Term:
    """KL(teacher || student) between relations, the mean over tokens and heads.

    Args:
        student: float [B, R, T, T], from `token_relations`.
        teacher: the same shape; no gradient flows into it.
        present: [B, T], 0 for padding, whose relations are left out.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of the mean in nats; 0 or more for each.

    Raises:
        ConfigError: the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ConfigError(
            f"The student's relations are {list(student.shape)} and the teacher's {list(teacher.shape)}; both nets "
            "must see the same tokens."
        )
    theirs = teacher.detach()
    apart_BT = (theirs.exp() * (theirs - student)).sum(-1).mean(1)
    if present is None:
        return weigh(apart_BT.mean(1), trust)
    there = present.to(apart_BT.dtype)
    return weigh((apart_BT * there).sum(1) / there.sum(1).clamp(min=1.0), trust)
