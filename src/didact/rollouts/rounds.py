"""Rounds of rollouts: the source of batches for methods that learn from the student's completions."""

from collections.abc import Callable
from typing import Any

from didact.curricula import Uniform
from didact.errors import ConfigError, DataError
from didact.rollouts.writer import Writer
from didact.sources import Rounds
from didact.types import Batch, Curriculum, Questions, RolloutFeed


def rollout_rounds(
    questions: Questions,
    writer: Writer,
    collect: Callable[[Any, Any], Batch],
    *,
    batch_size: int,
    feed: RolloutFeed | None = None,
    seed: int = 0,
    curriculum: Curriculum | None = None,
) -> Rounds:
    """Build rounds in which a student samples completions of prompts.

    Args:
        questions: N of them.
        writer: samples and verifies.
        collect: makes the rollouts of a round; a method's `collect`.
        batch_size: rollouts per optimizer step: all those of `batch_size / samples` prompts.
        feed: the method's, for its `epochs` and `minibatches`.
        seed: of the order of questions, and of rows if there are several epochs.
        curriculum: chooses the next questions; `Uniform` by default.

    Raises:
        ConfigError: the batch size is not a multiple of the samples.
        DataError: there are no questions.
    """
    if not len(questions):
        raise DataError(f"There are no questions in {questions.name or 'the data'}.")
    feed, samples = feed or RolloutFeed(), writer.sampling.samples
    if batch_size % samples:
        raise ConfigError(
            f"batch_size is {batch_size}, which is no multiple of samples = {samples}; a step takes all the "
            f"samples of its questions, so give {samples}, {2 * samples}, {4 * samples} or the like."
        )
    return Rounds(
        Uniform(len(questions), seed) if curriculum is None else curriculum,
        writer,
        collect,
        size=batch_size // samples * feed.minibatches,
        data=questions,
        epochs=feed.epochs,
        minibatches=feed.minibatches,
        seed=seed,
        epoch_size=len(questions) * samples,
        begin=writer.begin if writer.options.behind else None,
    )
