"""Series that a hidden Markov chain emits, whose states and their probabilities are known.

Axis letters: N series, W words (the classes), K states, T steps, D channels.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from didact import hashing
from didact.preprocessing import SeriesPreprocessing
from didact.types import Examples
from didact.worlds._chance import normal, uniform

SAMPLED = 2**13
"""The number of series for the estimate of the best accuracy."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HiddenChains:
    """Words that are Markov chains over common states, each of which emits Gaussian numbers.

    A word w is drawn with equal chances. The first state is uniform, each next one is drawn from the word's row for the
    present state, and a step is the state's mean plus normal noise.
    """

    transitions: Tensor
    """float64 [W, K, K]; each row adds up to 1."""
    means: Tensor
    """float64 [K, D]."""
    scale: float
    """The standard deviation of the noise in each channel."""

    def sample(self, count: int, steps: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw series; the first ones of a larger sample are those of a smaller one.

        Returns:
            x float32 [N, D, T], the words int64 [N] and the states int64 [N, T].
        """
        words, states, channels = len(self.transitions), *self.means.shape
        numbers = torch.arange(count)
        chance = uniform(numbers, steps + 1, seed, "emissions: states")
        label = (chance[:, 0] * words).long()
        state = [(chance[:, 1] * states).long()]
        for step in range(1, steps):
            rows = self.transitions[label, state[-1]].cumsum(1)
            following = torch.searchsorted(rows, chance[:, step + 1, None].contiguous(), right=True)
            state.append(following[:, 0].clamp_(max=states - 1))
        path = torch.stack(state, 1)
        noise = normal(numbers, steps * channels, seed, "emissions: noise").view(count, steps, channels)
        return (self.means[path].float() + self.scale * noise).mT.contiguous(), label, path

    def log_posterior(self, x: Tensor) -> Tensor:
        """The logarithm of the probability of each word, by the forward algorithm (Rabiner 1989, section III.A).

        Args:
            x: float [N, D, T].

        Returns:
            float64 [N, W].
        """
        return self._forward(x)[1].log_softmax(1)

    def state_posterior(self, x: Tensor) -> Tensor:
        """The probability of each state at each step, given the series and not its word; float64 [N, T, K].

        By the forward-backward algorithm (Rabiner 1989, section III.B), averaged over the words' posterior.
        """
        forward, likelihood = self._forward(x)
        emitted, backward = self._emitted(x), [torch.ones_like(forward[0])]
        for step in range(len(forward) - 1, 0, -1):
            ahead = torch.einsum("nwj,wkj->nwk", emitted[:, step, None] * backward[-1], self.transitions)
            backward.append(ahead / ahead.sum(2, keepdim=True))
        joint = torch.stack([one * other for one, other in zip(forward, reversed(backward), strict=True)], 1)
        of_words = joint / joint.sum(3, keepdim=True)
        return (of_words * likelihood.softmax(1)[:, None, :, None]).sum(2)

    def bayes_accuracy(self, steps: int) -> float:
        """The best possible accuracy on words of that many steps: the mean largest posterior of a fixed sample.

        Its standard error is at most 0.006, as the values lie between 0 and 1.
        """
        x, _, _ = self.sample(SAMPLED, steps, seed=1)
        return float(self.log_posterior(x).amax(1).exp().mean())

    def state_accuracy(self, steps: int) -> float:
        """The best possible accuracy on single states; see `bayes_accuracy`."""
        x, _, _ = self.sample(SAMPLED, steps, seed=1)
        return float(self.state_posterior(x).amax(2).mean())

    def _emitted(self, x: Tensor) -> Tensor:
        """The density of each step under each state, over the largest of them; [N, T, K]."""
        apart = x.double().mT[:, :, None] - self.means
        logs = -apart.square().sum(3) / (2 * self.scale**2)
        return (logs - logs.amax(2, keepdim=True)).exp()

    def _forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """By step, the probabilities [N, W, K] of its state given the series up to it; and log-densities [N, W]."""
        emitted, words = self._emitted(x), len(self.transitions)
        found, scales = list[Tensor](), list[Tensor]()
        ahead = torch.ones(len(x), words, emitted.shape[2], dtype=torch.float64) / emitted.shape[2]
        for step in range(emitted.shape[1]):
            joint = ahead * emitted[:, step, None]
            scales.append(joint.sum(2))
            found.append(joint / scales[-1][..., None])
            ahead = torch.einsum("nwk,wkj->nwj", found[-1], self.transitions)
        return found, torch.stack(scales).log().sum(0)


STEPS = 32
"""The steps of a series of `emissions:words`."""


@functools.cache
def words_chains() -> HiddenChains:
    """The chains of `emissions:words`: five words over six states with two channels."""
    words, states = 5, 6
    pull = normal(torch.arange(words * states), states, 0, "emissions: words").double()
    means = 1.5 * normal(torch.arange(states), 2, 0, "emissions: means").double()
    return HiddenChains(transitions=pull.view(words, states, states).softmax(2), means=means, scale=1.0)


@functools.cache
def words() -> Examples:
    """Tell five words apart by how their sounds follow each other, where every word has the same sounds.

    Real: nothing.

    Simulated: 4,000 series of 32 steps in two channels. Each is emitted by a hidden Markov chain over six states with
    Gaussian noise; a word is a table of transitions, and all words share the states.

    Known: everything. `words_chains().bayes_accuracy(STEPS)` gives the best possible accuracy, about 87%, and
    `log_posterior` the probabilities; the means of the channels alone leave logistic regression at 37%. The states
    are known: the best guess of a state from the whole series is right in 74% of cases, from its step alone in
    63%.

    Returns:
        `x` float32 [4000, 2, 32], `label` int64 [4000], `states` int64 [4000, 32], `id` int64 [4000].
    """
    x, label, states = words_chains().sample(4000, STEPS, seed=0)
    return Examples(
        tensors={"x": x, "label": label, "states": states, "id": hashing.keyed_hash(torch.arange(len(x)), 0, "words")},
        task="classification",
        modality="series",
        classes=tuple(f"word {number}" for number in range(len(words_chains().transitions))),
        preprocessing=SeriesPreprocessing(length=STEPS, means=(0.0, 0.0), stds=(1.0, 1.0), standardise="none"),
        name="emissions:words",
    )


ORDERS = ((0, 1, 2, 3), (0, 2, 1, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 1, 2, 0), (3, 2, 1, 0))
"""The order of the four parts in each of the motions of `emissions:motion`."""
_PART, _EARLY, _SHAKES = 8, 2, 2.0


@functools.cache
def motion() -> Examples:
    """Tell six motions apart by the order of their parts, where every motion has the same four.

    Real: nothing.

    Simulated: 3,000 series of 32 steps in two channels. A motion is an order of four parts; a part is a place, around
    which steps are drawn with normal noise. It takes about 8 steps: each change is up to 2 steps early or late.

    Known: everything, by `ORDERS` and `places`. The mean over time tells next to nothing. Steps within a part have no
    order, so that it may pass backwards.

    Returns:
        `x` float32 [3000, 2, 32], `label` int64 [3000], `states` int64 [3000, 32] (the part), `id` int64 [3000].
    """
    numbers = torch.arange(3000)
    chance = uniform(numbers, len(ORDERS[0]), 0, "emissions: motions")
    label = (chance[:, 0] * len(ORDERS)).long()
    moved = (chance[:, 1:] * (2 * _EARLY + 1)).long() - _EARLY
    ends = _PART * torch.arange(1, len(ORDERS[0])) + moved
    part = (torch.arange(STEPS)[:, None] >= ends[:, None]).sum(2)
    states = torch.tensor(ORDERS)[label].gather(1, part)
    noise = normal(numbers, 2 * STEPS, 0, "emissions: shakes").view(-1, STEPS, 2)
    return Examples(
        tensors={
            "x": (places()[states] + _SHAKES * noise).mT.contiguous(),
            "label": label,
            "states": states,
            "id": hashing.keyed_hash(numbers, 0, "motions"),
        },
        task="classification",
        modality="series",
        classes=tuple("".join("abcd"[part] for part in order) for order in ORDERS),
        preprocessing=SeriesPreprocessing(length=STEPS, means=(0.0, 0.0), stds=(1.0, 1.0), standardise="none"),
        name="emissions:motion",
    )


@functools.cache
def places() -> Tensor:
    """The places of the four parts of `emissions:motion`, float32 [4, 2]."""
    return torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
