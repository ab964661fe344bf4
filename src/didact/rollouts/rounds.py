"""Rounds of rollouts: the source of batches for methods that learn from what the student writes."""

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
    """Rounds in which a student writes completions of prompts.

    Args:
        questions: N of them.
        writer: writes and verifies.
        collect: makes the rollouts of a round; a method's `collect`.
        batch_size: rollouts in an optimizer step: all those at `batch_size / samples` questions.
        feed: the method's, for its `epochs` and `minibatches`.
        seed: of the order of questions, and of rows where there are several epochs.
        curriculum: which questions come next; `Uniform` by default.

    Raises:
        ConfigError: a batch size that is no multiple of the samples.
        DataError: no questions.
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
    )
