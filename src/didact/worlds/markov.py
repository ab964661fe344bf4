"""Text of a known Markov chain: an oracle for language models.

Axis letters: V letters.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds._chance import normal, uniform

LETTERS = "abcdefgh"
_QUESTIONS, _PROMPT, _LENGTH = 600, 4, 20
_SHARPNESS = 1.5
"""The deviation of the logits: at 0 letters are uniform, and the larger it is, the more predictable they are."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A Markov chain of letters of order two."""

    probs: Tensor
    """float64 [V, V, V]: of a letter (last axis), given the two letters before it."""

    def log_prob(self, context: str, text: str) -> float:
        """The log-probability of a text after two or more other letters, in nats."""
        table, whole = self.probs.log().tolist(), context[-2:] + text
        places = [LETTERS.index(letter) for letter in whole]
        return math.fsum(table[a][b][c] for a, b, c in zip(places, places[1:], places[2:], strict=False))

    def stationary(self) -> Tensor:
        """The stationary probabilities of pairs of letters: float64 [V, V]."""
        pairs = torch.full(self.probs.shape[:2], 1.0 / self.probs.shape[0] ** 2, dtype=torch.float64)
        for _ in range(200):
            pairs = torch.einsum("ab,abc->bc", pairs, self.probs)
        return pairs

    def entropy(self) -> float:
        """The entropy rate in nats per letter, a lower bound of any model's negative log-likelihood."""
        surprise = -(self.probs * self.probs.log()).sum(-1)
        return float((self.stationary() * surprise).sum())

    def write(self, context: Tensor, chance: Tensor) -> Tensor:
        """Continue pairs of letters, int64 [N, 2], by draws in [0, 1), float64 [N, T]: letters, int64 [N, T]."""
        ends, letters = self.probs.cumsum(-1), [*context.T]
        for draw in chance.T.contiguous():
            row = ends[letters[-2], letters[-1]]
            letters.append(torch.searchsorted(row, draw[:, None]).clamp_(max=len(LETTERS) - 1)[:, 0])
        return torch.stack(letters[2:], 1)


@functools.cache
def oracle() -> Chain:
    """The fixed chain of the world `markov`: softmax of normal logits of deviation 1.5."""
    count = len(LETTERS)
    logits = normal(torch.arange(count**2), count, 0, "markov: chain").double().view(count, count, count)
    return Chain((_SHARPNESS * logits).softmax(-1))


@functools.cache
def markov() -> Questions:
    """Continue a text of eight letters in which each letter depends on the two before it.

    Real: nothing.

    Simulated: the chain, drawn once, and 600 texts by it: 4 letters as the prompt and 20 as the completion.

    Known: the whole distribution; see `didact.worlds.markov.oracle`. `data` has `golden`, another completion
    of the same prompt by the same chain, which no model is trained on: a model's negative log-likelihood of it
    estimates the chain's entropy (1.49 nats per letter) plus the model's divergence from the chain.

    Returns:
        600 questions without a verifier, as any completion may be right; a completion is 20 letters.
    """
    return questions_of(_asked(), name="markov")


def _asked() -> Iterator[Question]:
    chain, ids = oracle(), torch.arange(2 * _QUESTIONS)
    chance = uniform(ids, _PROMPT + 2 * _LENGTH, 0, "markov: texts")
    begin = (chance[:, :2] * len(LETTERS)).long()
    prompt = torch.cat([begin, chain.write(begin, chance[:, 2:_PROMPT])], 1)
    completions = [chain.write(prompt[:, -2:], part) for part in chance[:, _PROMPT:].split(_LENGTH, 1)]
    texts = (["".join(LETTERS[i] for i in row) for row in part.tolist()] for part in (prompt, *completions))
    unlike = {asked: (answer, golden) for asked, answer, golden in zip(*texts, strict=True)}
    for asked, (answer, golden) in list(unlike.items())[:_QUESTIONS]:
        yield Question(id=0, prompt=asked, completion=answer, data={"golden": golden})
