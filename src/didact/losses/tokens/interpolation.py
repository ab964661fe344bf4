"""Targets between a student and its teacher, as states and a head, so that no [tokens, V] is held.

Axis letters: N tokens, V vocabulary, D and E the widths of student and teacher.
"""

import torch
from torch import Tensor

from didact.errors import ConfigError
from didact.types import Head


def between(
    hidden: Tensor, head: Head, teacher_hidden: Tensor, teacher_head: Head, share: Tensor | float
) -> tuple[Tensor, Head]:
    """States and a head whose scores are (1 - share) times the student's plus share times the teacher's.

    As scores are linear in the states, those of both models side by side, [N, D + E], under their heads side by side,
    [V, D + E], give the mixture.

    Args:
        hidden: float [N, D], the student's.
        head: the student's.
        teacher_hidden: float [N, E], of the same tokens.
        teacher_head: the teacher's, whose token ids mean the same; the ids that both have are kept.
        share: of the teacher, in [0, 1].

    Returns:
        Both without a gradient.

    Raises:
        ConfigError: scores of one of the models are capped, so that they are not linear in its states.
    """
    if head.softcap is not None or teacher_head.softcap is not None:
        raise ConfigError("softcap is set in a model's head, whose scores can't be mixed state by state; use gkd.")
    size = min(head.vocabulary, teacher_head.vocabulary)
    mine, theirs = head.sliced(size), teacher_head.sliced(size)
    parts = [hidden.detach() * ((1.0 - share) * mine.scale), teacher_hidden.detach() * (share * theirs.scale)]
    weights = [mine.weight.detach(), theirs.weight.detach()]
    if mine.bias is not None or theirs.bias is not None:
        own, other = (h.weight.new_zeros(size) if h.bias is None else h.bias.detach() for h in (mine, theirs))
        factors = torch.stack([torch.as_tensor((1.0 - share) * mine.scale), torch.as_tensor(share * theirs.scale)])
        parts.append(factors.to(hidden).expand(len(hidden), 2))
        weights.append(torch.stack([own, other], 1))
    return torch.cat(parts, 1), Head(torch.cat(weights, 1))
