"""Words of a large vocabulary for unlabelled examples, by the votes of clusters (Zhang et al. 2023, S3A)."""

from torch import Tensor

from didact.errors import check_range
from didact.losses.labels.factorising import matching


def elect_words(scores: Tensor, cluster: Tensor, *, rounds: int = 3) -> tuple[Tensor, Tensor]:
    """One word for each cluster, by the votes of its examples, and of these words the best for each example.

    An example votes for its best word of all. Words are assigned to clusters one to one, so that the shares of votes
    that they get there add up to the most. Then every example joins the cluster whose word suits it best, and the
    clusters vote again.

    Args:
        scores: float [N, V], how well each word suits each example; only their order within an example counts.
        cluster: int64 [N], the cluster of each example; negative for one that does not vote.
        rounds: how often they vote, at least 1.

    Returns:
        The word of each example, int64 [N]; and its cluster, int64 [N], from 0 on.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    check_range("rounds", rounds, at_least=1)
    best, words = scores.argmax(1), scores.shape[1]
    for _ in range(rounds):
        voting = cluster >= 0
        ballots = cluster[voting] * words + best[voting]
        votes = ballots.bincount(minlength=words * (int(cluster.max()) + 1)).view(-1, words).double()
        votes = votes[votes.sum(1) > 0]
        elected = matching(votes / votes.sum(1, keepdim=True)).to(scores.device)
        cluster = scores[:, elected].argmax(1)
    return elected[cluster], cluster  # pyright: ignore[reportPossiblyUnboundVariable]
