"""Pairs of sentences that say the same in two vocabularies, with a known dictionary."""

import functools

import torch
from torch import Tensor

from didact import hashing
from didact.types import Examples
from didact.worlds._chance import normal, uniform

_SIZE, _WORDS, _LENGTH, _SUBJECTS = 2000, 64, 12, 8
_SLIPS = 0.25


@functools.cache
def two_vocabularies() -> Examples:
    """Tell the subject of a sentence, which is there in two vocabularies of 64 words that have nothing in common.

    Real: nothing.

    Simulated: 2,000 sentences of 12 words, drawn from the distribution of one of eight subjects over 64 words. `x`
    counts the words. The view `translated` counts the words of a translation by a fixed dictionary, in which each word
    is replaced by a random one with the chance 0.25.

    Known: everything. `dictionary` gives the translation of each word. By it, a sentence is nearest to its own
    translation in 86% of cases (in cosine, among all 2,000); by a dictionary that is shuffled, in about 0.05%. The
    subject with the highest likelihood is right in 95% of cases.

    Returns:
        `x` float32 [2000, 64], `translated.x` alike, `label` int64 [2000] (the subject), `id` int64 [2000].
    """
    numbers = torch.arange(_SIZE)
    chance = uniform(numbers, 1 + 3 * _LENGTH, 0, "two vocabularies")
    label = (chance[:, 0] * _SUBJECTS).long()
    drawn, slips, others = chance[:, 1:].split(_LENGTH, 1)
    rows = subjects().cumsum(1)[label]
    said = torch.searchsorted(rows, drawn.contiguous(), right=True).clamp_(max=_WORDS - 1)
    heard = torch.where(slips < _SLIPS, (others * _WORDS).long(), dictionary()[said])
    return Examples(
        tensors={
            "x": _counts(said),
            "translated.x": _counts(heard),
            "label": label,
            "id": hashing.keyed_hash(numbers, 0, "two vocabularies"),
        },
        task="classification",
        modality="table",
        classes=tuple(f"subject {number}" for number in range(_SUBJECTS)),
        name="pairs:two_vocabularies",
    )


@functools.cache
def dictionary() -> Tensor:
    """The translation of each word; int64 [64], a permutation."""
    return hashing.keyed_hash(torch.arange(_WORDS), 0, "two vocabularies: dictionary").argsort()


@functools.cache
def subjects() -> Tensor:
    """The distribution over words of each subject; float64 [8, 64], rows adding up to 1."""
    return normal(torch.arange(_SUBJECTS), _WORDS, 0, "two vocabularies: subjects").double().softmax(1)


def _counts(words: Tensor) -> Tensor:
    return torch.zeros(len(words), _WORDS).scatter_add_(1, words, torch.ones(words.shape))
