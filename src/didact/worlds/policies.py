"""Policies that are small enough for exact solutions: one choice, or a chain of tokens.

A policy is a table of logits, and a reward a table of the same shape; both are float64. Axis letters: S situations,
V actions or tokens, T tokens of a sequence. Everything is a closed form or a sum over states, never an estimate, and
differentiable by torch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import check_range
from didact.worlds._chance import normal


def optimum(reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """The policy that maximises the reward minus `beta` times its KL divergence from the reference.

    It is pi*(a) = pi_ref(a) exp(r(a) / beta) / Z, the posterior of the reference given the reward (Korbak, Perez and
    Buckley 2022, "RL with KL penalties is better viewed as Bayesian inference").

    Args:
        reference: logits [..., V].
        reward: [..., V].
        beta: above 0; the cost of a nat of divergence.

    Returns:
        Its log-probabilities [..., V].

    Raises:
        ConfigError: beta is not above 0.
    """
    check_range("beta", beta, above=0)
    return (reference.log_softmax(-1) + reward / beta).log_softmax(-1)


def best_objective(reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """The objective of the optimum, beta log Z: its reward minus `beta` times its divergence; [...]."""
    check_range("beta", beta, above=0)
    return beta * (reference.log_softmax(-1) + reward / beta).logsumexp(-1)


def expected_reward(logits: Tensor, reward: Tensor) -> Tensor:
    """The mean reward of a policy; [...] from two [..., V]."""
    return (logits.softmax(-1) * reward).sum(-1)


def entropy(logits: Tensor) -> Tensor:
    """The entropy of a policy in nats; [...] from [..., V]."""
    log_probs = logits.log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) in nats; [...] from two [..., V]."""
    log_probs = logits.log_softmax(-1)
    return (log_probs.exp() * (log_probs - reference.log_softmax(-1))).sum(-1)


def policy_gradient(logits: Tensor, reward: Tensor) -> Tensor:
    """The gradient of the mean reward with respect to the logits, pi(a) (r(a) - E r); [..., V]."""
    return logits.softmax(-1) * (reward - expected_reward(logits, reward).unsqueeze(-1))


def entropy_change(logits: Tensor, step: Tensor) -> Tensor:
    """The first-order change of the entropy when a step is added to the logits.

    It is -Cov(log pi(a), step(a)) over a ~ pi: if likely actions gain, entropy falls (Cui et al. 2025, "The entropy
    mechanism of reinforcement learning for reasoning language models").

    Args:
        logits: [..., V].
        step: [..., V]; such as the learning rate times `policy_gradient`, or times the advantage for a natural one.

    Returns:
        [...].
    """
    return -_covariance(logits, logits.log_softmax(-1), step)


@dataclass(frozen=True, slots=True)
class Bandit:
    """A contextual bandit: situations in each of which one action is taken."""

    reference: Tensor
    """Logits [S, V] of the reference policy."""
    reward: Tensor
    """[S, V]."""


def bandit(actions: int = 8, *, situations: int = 1, seed: int = 0) -> Bandit:
    """Draw a bandit with standard normal logits and rewards.

    Args:
        actions: V, at least 2.
        situations: S, at least 1.
        seed: any integer.

    Raises:
        ConfigError: too few of either.
    """
    check_range("actions", actions, at_least=2)
    check_range("situations", situations, at_least=1)
    return Bandit(*_tables(situations, actions, seed, "bandit"))


@dataclass(frozen=True, slots=True)
class Bigram:
    """Sequences of T tokens, each of which depends on the previous token alone.

    A policy's logits are [V + 1, V], or [T, V + 1, V] if they change along the sequence: row v is for the token after
    v, and the last row for the first token. A sequence's reward is the sum of those of its pairs.
    """

    reference: Tensor
    """Logits [V + 1, V] of the reference policy."""
    reward: Tensor
    """[V + 1, V], the reward of a token after another one."""
    length: int
    """T."""

    def optimum(self, beta: float) -> Tensor:
        """The policy over sequences that maximises the reward minus `beta` times its KL divergence from the reference.

        It weights whole sequences by exp(r / beta). Token by token, this adds to each pair's reward the
        `best_objective` of the rest, computed from the end.

        Returns:
            Its log-probabilities [T, V + 1, V]: it changes along the sequence.
        """
        steps, rest = [], self.reward.new_zeros(self.reward.shape[1])
        for _ in range(self.length):
            total = self.reward + rest
            steps.append(optimum(self.reference, total, beta))
            rest = best_objective(self.reference, total, beta)[:-1]
        return torch.stack(steps[::-1])

    def best_objective(self, beta: float) -> Tensor:
        """The objective of the optimum: its reward minus `beta` times its divergence; a scalar."""
        chosen = self.optimum(beta)
        return self.expected_reward(chosen) - beta * self.divergence(chosen)

    def visits(self, logits: Tensor) -> Tensor:
        """The probability of each state before each token; [T, V + 1]."""
        policy = self._along(logits).softmax(-1)
        state = torch.zeros_like(policy[0, :, 0])
        state[-1] = 1.0
        states = [state]
        for step in policy[:-1]:
            state = torch.cat([state @ step, state.new_zeros(1)])
            states.append(state)
        return torch.stack(states)

    def expected_reward(self, logits: Tensor) -> Tensor:
        """The mean reward of a sequence; a scalar."""
        return self._summed(logits, expected_reward(self._along(logits), self.reward))

    def entropy(self, logits: Tensor) -> Tensor:
        """The entropy of a whole sequence in nats; a scalar."""
        return self._summed(logits, entropy(self._along(logits)))

    def divergence(self, logits: Tensor) -> Tensor:
        """KL(policy || reference) of whole sequences in nats; a scalar."""
        return self._summed(logits, divergence(self._along(logits), self.reference))

    def entropy_change(self, logits: Tensor, step: Tensor) -> Tensor:
        """The first-order change of the entropy of a sequence when a step is added to the logits.

        Args:
            logits: [V + 1, V] or [T, V + 1, V].
            step: shaped as `logits`.

        Returns:
            A scalar: over the visited states, the covariance of the step with -log pi plus the entropy of the rest of
            the sequence. Without the latter it would be `entropy_change`, which ignores that a choice changes the
            following ones.
        """
        policy, moved = self._along(logits), self._along(step)
        value = -policy.log_softmax(-1)
        rest = value.new_zeros(policy.shape[-1])
        parts = []
        for time in reversed(range(self.length)):
            total = value[time] + rest
            parts.append(_covariance(policy[time], total, moved[time]))
            rest = expected_reward(policy[time], total)[:-1]
        return self._summed(logits, torch.stack(parts[::-1]))

    def _along(self, logits: Tensor) -> Tensor:
        """The logits before each token; [T, V + 1, V]."""
        return logits.expand(self.length, *self.reward.shape)

    def _summed(self, logits: Tensor, value: Tensor) -> Tensor:
        """The mean, over sequences, of the sum of the values of states [T, V + 1]."""
        return (self.visits(logits) * value).sum()


def bigram(vocabulary: int = 6, *, length: int = 4, seed: int = 0) -> Bigram:
    """Draw a bigram world with standard normal logits and rewards.

    Args:
        vocabulary: V, at least 2.
        length: T, at least 1.
        seed: any integer.

    Raises:
        ConfigError: too few of either.
    """
    check_range("vocabulary", vocabulary, at_least=2)
    check_range("length", length, at_least=1)
    return Bigram(*_tables(vocabulary + 1, vocabulary, seed, "bigram"), length)


def _tables(rows: int, columns: int, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    drawn = normal(torch.arange(rows), 2 * columns, seed, purpose).double()
    return drawn[:, :columns].clone(), drawn[:, columns:].clone()


def _covariance(logits: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Cov(one(a), other(a)) over a ~ pi; [...]."""
    probabilities = logits.softmax(-1)
    centred = one - (probabilities * one).sum(-1, keepdim=True)
    return (probabilities * centred * other).sum(-1)
