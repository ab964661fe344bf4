"""Bags of a question and of evidence, of which it is known what matters."""

import functools
import math

import torch

from didact import hashing
from didact.types import Examples
from didact.worlds._chance import normal, uniform

MOST = 8
"""Pieces of evidence in a bag, at most."""
_BAGS, _KEY, _CONTENT, _RELEVANT = 2000, 4, 4, 2
_SLIP, _NOISE = 0.2, 0.8


@functools.cache
def evidence() -> Examples:
    """Answer yes or no by the evidence that is about the question, among other evidence.

    Real: nothing.

    Simulated: 2,000 bags of nine vectors of eight numbers. The first is the question: a key of four standard normal
    numbers, and four zeros. After it, in random places, come pieces of evidence: one or two that are relevant, and from
    none to six that are not; what is left is zeros. The key of a relevant piece is the question's with noise of
    deviation 0.2, another piece has a key of its own. The other four numbers are the answer of a piece, the same normal
    vector of length 1 for yes, its opposite for no, with noise of deviation 0.8; a piece that is not relevant answers
    at random.

    Known: everything. By the relevant pieces alone, the best possible accuracy is `best_accuracy()`, 93%. Nothing tells
    relevant pieces from others but the question.

    Returns:
        `x` float32 [2000, 9, 8], `label` int64 [2000] (1 is yes), `candidates` int64 [2000] (the pieces of evidence, 1
        to 8), `relevant` bool [2000, 9], `id` int64 [2000] from the contents.
    """
    numbers = torch.arange(_BAGS)
    chance = uniform(numbers, 3 + 2 * MOST, 0, "planted:evidence")
    label = (chance[:, 0] < 0.5).long()
    relevant = 1 + (chance[:, 1] * _RELEVANT).long()
    candidates = relevant + (chance[:, 2] * (MOST - _RELEVANT + 1)).long()
    # By rank: the relevant pieces, then the others, then none.
    rank = chance[:, 3 : 3 + MOST].argsort(1).argsort(1)
    about, there = rank < relevant[:, None], rank < candidates[:, None]
    says = torch.where(about, label[:, None] == 1, chance[:, 3 + MOST :] < 0.5)
    drawn = normal(numbers, _KEY + MOST * (_KEY + _CONTENT), 0, "planted:evidence: numbers")
    question, rest = drawn[:, :_KEY], drawn[:, _KEY:].view(_BAGS, MOST, -1)
    key = torch.where(about[..., None], question[:, None] + _SLIP * rest[..., :_KEY], rest[..., :_KEY])
    answer = (2.0 * says[..., None] - 1.0) * direction() + _NOISE * rest[..., _KEY:]
    pieces = torch.cat([key, answer], 2) * there[..., None]
    asked = torch.cat([question, torch.zeros(_BAGS, _CONTENT)], 1)
    x = torch.cat([asked[:, None], pieces], 1)
    first = torch.zeros(_BAGS, 1, dtype=torch.bool)
    return Examples(
        tensors={
            "x": x,
            "label": label,
            "candidates": candidates,
            "relevant": torch.cat([first, about], 1),
            "id": hashing.of_rows(x.flatten(1)),
        },
        task="classification",
        modality="table",
        classes=("no", "yes"),
        name="planted:evidence",
    )


def direction() -> torch.Tensor:
    """What yes adds to the answer of a piece of evidence; float [4], of length 1."""
    drawn = normal(torch.arange(1), _CONTENT, 0, "planted:evidence: yes")[0]
    return drawn / drawn.norm()


def best_accuracy() -> float:
    """The accuracy by the mean answer of the relevant pieces, along `direction`: of k of them, Phi(sqrt k / noise)."""
    counts = range(1, _RELEVANT + 1)
    return sum((1 + math.erf(math.sqrt(k / 2) / _NOISE)) / 2 for k in counts) / len(counts)
