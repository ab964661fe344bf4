"""Examples of an open set that are near those of a target, and where these end."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.curricula.acquisition.covering import k_means
from didact.errors import ConfigError, check_range
from didact.types import Examples, is_labelled


def nearest_coreset(
    similarity: Tensor, count: int, generator: torch.Generator, *, stop: float = 0.95, patience: int = 20
) -> Tensor:
    """The rows of an open set that the centroids of a target pick (SimCore; Kim, Bae & Yun 2023).

    In each round, each centroid picks the most similar of the rows that no round before has taken; several may pick the
    same one. The mean similarity of a round's picks falls from round to round. Below `stop` times that of the round
    with the number `patience`, or below 0, the picks are no longer like the target, and are not taken.

    Compared with util/sampling.py of sungnyun/openssl-simcore: the same rows.

    Args:
        similarity: float [N, K] of N rows to K centroids, such as cosines.
        count: how many rows are taken at most; of the last round, they are drawn.
        generator: draws them.
        stop: from 0 on; 0 never stops where similarities are not negative.
        patience: the number of the round that is compared with, from 1.

    Returns:
        int64 [at most count], all different, those of earlier rounds first.

    Raises:
        ConfigError: a number out of range.
    """
    check_range("count", count, at_least=0)
    check_range("stop", stop, at_least=0.0)
    check_range("patience", patience, at_least=1)
    left, bound, found, room = similarity.clone(), 0.0, list[Tensor](), min(count, len(similarity))
    for number in itertools.count(1):
        if not room:
            break
        best = left.max(0)
        value = float(best.values.mean())
        if number == patience:
            bound = stop * value
        if value < bound:
            break
        picked = best.indices.unique()
        if len(picked) > room:
            picked = picked[torch.randperm(len(picked), generator=generator)[:room]]
        left[picked] = -math.inf
        found.append(picked)
        room -= len(picked)
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)


def find_target(examples: Examples) -> tuple[Tensor, Tensor]:
    """Which examples are of the target: those whose tensor `domain` is 0, or without one those that have a label.

    Returns:
        bool [N], the target; and bool [N], those of it that have a label.

    Raises:
        ConfigError: the target has no label, or there is nothing else.
    """
    known, domain = is_labelled(examples.tensors["label"]), examples.tensors.get("domain")
    target = known if domain is None else domain == 0
    if not bool((known & target).any()) or bool(target.all()):
        raise ConfigError(
            f"Of {examples.size} rows {int(target.sum())} are the target, of which {int((known & target).sum())} have "
            "a label; give some, and an open set beside the target (--unlabelled FILE, or fewer --labels)."
        )
    return target, known & target


def target_centroids(x: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """The centroids of rows of unit length, at unit length; the rows themselves where there are no more of them.

    Args:
        x: float [N, D], such as embeddings.
        clusters: how many, for k-means.
        generator: draws its first centres.

    Returns:
        float [K, D], where K is the number of clusters at most.
    """
    unit = F.normalize(x.float(), dim=1)
    if clusters >= len(unit):
        return unit
    owner = k_means(unit, clusters, generator)
    sums = torch.zeros(clusters, unit.shape[1]).index_add_(0, owner, unit)
    return F.normalize(sums[owner.bincount(minlength=clusters) > 0], dim=1)


def feature_similarity(x: Tensor, target: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """The cosines of rows with the centroids of a target.

    Args:
        x: float [N, D].
        target: float [M, D].
        clusters: see `target_centroids`; 0 for one a row of the target.
        generator: see there.

    Returns:
        float [N, K].
    """
    return F.normalize(x.float(), dim=1) @ target_centroids(target, clusters or len(target), generator).T


def edit_similarity(texts: Sequence[str], others: Sequence[str]) -> Tensor:
    """One minus the normalised edit distance: the fewest insertions, deletions and replacements of a character that
    make one text the other (Levenshtein 1966), over the length of the longer one.

    It is the lexical distance of Mohamed Naira et al. (2024), "Harnessing transfer learning from Swahili".

    Args:
        texts: M strings.
        others: N strings.

    Returns:
        float32 [M, N] in [0, 1]; two empty texts have 1.
    """
    (mine, lengths), (theirs, widths) = _characters(texts), _characters(others)
    before = [torch.full((len(mine), len(theirs)), column) for column in range(theirs.shape[1] + 1)]
    distance = widths.expand(len(mine), -1).clone()
    for row in range(mine.shape[1]):
        now = [torch.full_like(before[0], row + 1)]
        for column in range(theirs.shape[1]):
            replaced = before[column] + (mine[:, row, None] != theirs[:, column])
            now.append(torch.minimum(replaced, torch.minimum(before[column + 1], now[-1]) + 1))
        before = now
        ended = torch.stack(now).gather(0, widths.expand(1, len(mine), -1))[0]
        distance = torch.where(lengths[:, None] == row + 1, ended, distance)
    longest = torch.maximum(lengths[:, None], widths)
    return 1.0 - distance.float() / longest.clamp(min=1).float()


def _characters(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The code points of texts, int64 [N, T], filled up with -1, and their lengths, int64 [N]."""
    lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    longest = int(lengths.max()) if len(texts) else 0
    rows = [[*map(ord, text), *[-1] * (longest - len(text))] for text in texts]
    return torch.tensor(rows, dtype=torch.int64).view(len(texts), longest), lengths
