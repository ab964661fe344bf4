"""What answers are worth to a scorer, and whether they change as its scores do."""

from torch import Tensor
from torch.nn import functional as F

from didact.types import Term


def expected_score(probs: Tensor, scores: Tensor) -> Term:
    """The score that is expected of an answer.

    Args:
        probs: float [B, C], the probabilities of answers.
        scores: float [B, C], how well each suits the input.

    Returns:
        The sum over examples of sum_c p_c s_c, and their number.
    """
    found = (probs * scores).sum(-1)
    return Term(found.sum(), len(found), rows=found)


def unlike_changes(answers: Tensor, scores: Tensor) -> Term:
    """1 minus the cosine between a change of answers and a change of scores.

    Args:
        answers: float [B, C], by how much probabilities change.
        scores: float [B, C], by how much scores change; their mean over classes, which no answer can follow, is taken
            away.

    Returns:
        The sum over examples, and their number.
    """
    found = 1.0 - F.cosine_similarity(answers, scores - scores.mean(-1, keepdim=True), dim=-1, eps=1e-6)
    return Term(found.sum(), len(found), rows=found)
