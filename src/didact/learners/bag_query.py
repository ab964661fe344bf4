"""Nets over bags whose first instance is a query: it says what matters of the others."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.errors import ConfigError, check_choice
from didact.learners.bags import BagNet
from didact.learners.module import ModuleLearner

QUERIES: dict[str, str] = {
    "adaptive": "attention whose query is the first instance, to which the result is added",
    "relevance": "the mean of what each pair with the first instance entails, weighted by the pair's relevance",
    "entailment": "the same, with equal weights",
}
"""How the vectors of a bag become one answer."""


class AdaptiveBag(BagNet):
    """Attention over all instances by a query that is made of the first: q + O softmax(Q q (K h)' / sqrt D) V h.

    AdaPool of Brothers (2025), "Robust noise attenuation via adaptive pooling of transformer outputs", with one head.

    Args:
        instance: a net from instances [N, ...] to vectors [N, D].
        size: D.
        outputs: numbers that the head gives.
    """

    def __init__(self, instance: nn.Module, size: int, outputs: int) -> None:
        super().__init__(instance, size, outputs, "mean")
        self.query, self.key, self.value, self.out = (nn.Linear(size, size, bias=False) for _ in range(4))

    def attend(self, hidden: Tensor, kept: Tensor | None = None) -> Tensor:
        """The weight of each instance, float [B, K], with sums of 1; see `BagNet`."""
        asked = self.query(hidden[:, 0]) / math.sqrt(hidden.shape[-1])
        scores = torch.einsum("bd,bkd->bk", asked, self.key(hidden))
        return self.attention(scores if kept is None else scores.masked_fill(~kept, -torch.inf))

    def pool(self, hidden: Tensor, kept: Tensor | None = None) -> Tensor:
        """One vector for each bag, float [B, D]; see `BagNet`."""
        found = torch.einsum("bk,bkd->bd", self.attend(hidden, kept), self.value(hidden))
        return self.pooled(hidden[:, 0] + self.out(found))


class EvidenceBag(BagNet):
    """The answer to a question, the first instance, by evidence, the others: sum of r c over sum of r.

    From the sum and the product of the question's vector with that of a piece of evidence, one layer says what the
    piece entails, c (probabilities of the classes, or a number), another how relevant it is, r, from 0 to 1. A piece of
    zeros alone is none. Baudiš, Stanko & Šedivý (2016), "Joint learning of sentence embeddings for relevance and
    entailment".

    Args:
        instance: a net from instances [N, ...] to vectors [N, D].
        size: D.
        outputs: classes, or 1 for a regression.
        weighted: whether relevance is told; else all evidence weighs the same.
    """

    def __init__(self, instance: nn.Module, size: int, outputs: int, *, weighted: bool) -> None:
        super().__init__(instance, size, outputs, "mean")
        self.head = nn.Linear(2 * size, outputs)
        self.relevance = nn.Linear(2 * size, 1) if weighted else None

    def pairs(self, hidden: Tensor) -> Tensor:
        """Each instance with the first, float [B, K, 2 D]: their sum and their product."""
        question = hidden[:, :1]
        return torch.cat([question + hidden, question * hidden], -1)

    def attend(self, hidden: Tensor, kept: Tensor | None = None) -> Tensor:
        """The share of each instance in the relevance of all but the first, float [B, K], with sums of 1."""
        scores = hidden.new_zeros(hidden.shape[:2])
        if self.relevance is not None:
            # The softmax of log r is r over the sum of r.
            scores = F.logsigmoid(self.relevance(self.pairs(hidden))[..., 0])
        first = torch.arange(hidden.shape[1], device=hidden.device) == 0
        return self.attention(scores.masked_fill(first if kept is None else first | ~kept, -torch.inf))

    def pool(self, hidden: Tensor, kept: Tensor | None = None) -> Tensor:
        """Nothing: the answers are pooled, and not the vectors.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("A query_bag of relevance or entailment has no vector of a bag; take bag:attention:mlp:64.")

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities [B, C], or numbers [B, 1], of bags [B, K, ...]."""
        hidden, there = self.encode(x), x.flatten(2).ne(0.0).any(2)
        there[:, 1:] |= ~there[:, 1:].any(1, keepdim=True)
        weight, said = self.attend(hidden, there)[..., None], self.head(self.pairs(hidden))
        if said.shape[-1] == 1:
            return (weight * said).sum(1)
        return (weight.clamp(min=torch.finfo(weight.dtype).tiny).log() + said.log_softmax(-1)).logsumexp(1)


def query_bag_net(learner: ModuleLearner, pooling: str) -> ModuleLearner:
    """Make a net over bags one over bags whose first instance is a query.

    Args:
        learner: as `bag_net` makes it, whose pooling is replaced.
        pooling: one of `QUERIES`.

    Raises:
        ConfigError: an unknown pooling.
    """
    check_choice("pooling", pooling, QUERIES)
    plain = learner.module
    assert isinstance(plain, BagNet)
    size, outputs = plain.head.in_features, plain.head.out_features
    if pooling == "adaptive":
        return ModuleLearner(AdaptiveBag(plain.instance, size, outputs), head="head")
    return ModuleLearner(EvidenceBag(plain.instance, size, outputs, weighted=pooling == "relevance"), head="head")
