"""A classifier that tells domains apart, and classes by them."""

import torch
from torch import Tensor, nn

from didact.learners.module import ModuleLearner
from didact.types import Batch, Output

_LEAST = 1e-6
"""The least share of a class, since what the equations give may be negative."""


def class_shares(told: Tensor, chances: Tensor, domain: Tensor | None = None) -> Tensor:
    """The probabilities of classes from those of domains, which tell classes by nothing else.

    p(domain | x) is the sum over classes of p(domain | class) p(class | x), which is solved for the latter by least
    squares. Where the domain is known, each class is then weighed by how likely it is of this domain
    (Roberts et al. 2022, section 5).

    Args:
        told: float [B, K], the probability of each domain.
        chances: float [K, C], how likely an example of a class is of a domain.
        domain: int64 [B], the domain of each example, where it is known.

    Returns:
        float [B, C] above 0, rows adding up to 1. Departure: shares below 1e-6 are set to that.
    """
    found = told @ torch.linalg.pinv(chances).T
    if domain is not None:
        found = found * chances[domain]
    found = found.clamp(min=_LEAST)
    return found / found.sum(-1, keepdim=True)


class LatentClasses(nn.Module):
    """A learner of classes, by a classifier of domains.

    Args:
        learner: with a linear head, whose input the classifier reads.
        classifier: from that to the logits of K domains.
        chances: float [K, C], see `class_shares`.
        domain: the tensor of batches that says which domain an example is of, modulo K; it is
            not used where the name is empty, or a batch lacks it.
    """

    chances: Tensor

    def __init__(self, learner: ModuleLearner, classifier: nn.Module, chances: Tensor, domain: str) -> None:
        super().__init__()
        self.learner, self.classifier, self.domain = learner, classifier, domain
        self.register_buffer("chances", chances.float())

    def forward(self, batch: Batch) -> Output:
        """The logarithms of the probabilities of classes, [B, C]."""
        hidden = self.learner(batch).hidden
        assert hidden is not None
        domain = batch[self.domain] % len(self.chances) if self.domain in batch else None
        return Output(class_shares(self.classifier(hidden).float().softmax(-1), self.chances, domain).log())
