"""Sampling from causal language models."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from didact.errors import DataError
from didact.learners.causal import CausalLearner, check_length
from didact.rollouts.completions import Completions
from didact.rollouts.continuous_batch import ContinuousBatch
from didact.rollouts.draws import rollout_keys
from didact.rollouts.sampling import Sampling
from didact.rollouts.stopping import Stopping


class Sampler:
    """Samples completions of prompts from a language model.

    `sampling.slots` completions are generated at once, in evaluation mode, with the weights of the model when `sample`
    is called; those that end make room for the next. A prompt is read once, however many samples it has. A completion
    is determined by the weights, the seed, the prompt and its id, the visit and the number of the sample, and, up to
    the rounding of sums, does not depend on what else is sampled.

    Args:
        learner: the model.
        sampling: the options.
        seed: of all draws.
        int8: whether the matrices of the model are rounded to whole numbers, which is faster on a CPU; the
            log-probabilities are then those of the rounded model.
    """

    def __init__(self, learner: CausalLearner, sampling: Sampling, *, seed: int = 0, int8: bool = False) -> None:
        self.learner, self.sampling, self.seed, self.int8 = learner, sampling.settled(), seed, int8
        self.stopping = Stopping(sampling.stop, learner.tokenizer, learner.head.vocabulary)

    def sample(self, prompts: Sequence[Sequence[int]], ids: Sequence[int], *, visit: int = 0) -> Completions:
        """Sample completions.

        Args:
            prompts: P lists of token ids.
            ids: P stable numbers; the same id in the same visit has the same random numbers.
            visit: how often these prompts were sampled before; another one gives other completions.

        Returns:
            P * `sampling.samples` completions, those of the first prompt first. They end where the context is full.

        Raises:
            DataError: there are no prompts, an empty one, one with unknown token ids, or another number of ids.
            ConfigError: a prompt fills the context, or the model can't be sampled from.
        """
        check_prompts(self.learner, prompts, ids)
        keys = rollout_keys(torch.tensor(ids), seed=self.seed, visit=visit, samples=self.sampling.samples)
        batch = ContinuousBatch(self.learner, self.sampling, self.stopping, prompts, keys, int8=self.int8)
        with _evaluating(self.learner), torch.inference_mode():
            batch.run()
        return _completions(batch, self.learner, sum(map(len, prompts)))


def check_prompts(learner: CausalLearner, prompts: Sequence[Sequence[int]], ids: Sequence[int]) -> None:
    """Refuse prompts that a model can't complete; see `Sampler.sample`."""
    if not len(prompts):
        raise DataError("There are no prompts to complete; give at least one.")
    if len(prompts) != len(ids):
        raise DataError(f"There are {len(prompts)} prompts but {len(ids)} ids; give an id for each prompt.")
    for place, prompt in enumerate(prompts):
        if not len(prompt):
            raise DataError(
                f"Prompt {place} (id {ids[place]}) is empty; a prompt needs at least one token, such as the one "
                "that begins a text."
            )
        if min(prompt) < 0 or max(prompt) >= learner.head.vocabulary:
            raise DataError(
                f"Prompt {place} (id {ids[place]}) has ids from {min(prompt)} to {max(prompt)}, but those of "
                f"{learner.config!r} go from 0 to {learner.head.vocabulary - 1}; use its own tokenizer."
            )
    check_length(learner, max(map(len, prompts)), new=1)


def _completions(batch: ContinuousBatch, learner: CausalLearner, read: int) -> Completions:
    longest = int(batch.lengths.max())
    return Completions(
        tokens=batch.tokens[:, :longest],
        lengths=batch.lengths,
        log_probs=batch.log_probs[:, :longest],
        finished=batch.finished,
        read=read,
        written=int(batch.lengths.sum()),
        tokenizer=learner.tokenizer,
    )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """A context in evaluation mode, which restores the mode of each module."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
