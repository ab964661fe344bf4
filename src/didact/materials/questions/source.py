"""Batches of a run on questions: the data's completions, or rollouts of the student."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from didact import hashing, sources
from didact.curricula import Weighted
from didact.errors import ConfigError, DataError
from didact.experiment.material import Asked, Run
from didact.learners.causal import CausalLearner
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import model_of
from didact.materials.questions.verifying import ground_truth
from didact.parts.environment import environment_of
from didact.rollouts import Writer, rollout_rounds
from didact.teachers import identity
from didact.types import Batch, CompletionFeed, Questions, RolloutFeed, Source

SEQUENCES = 16
"""Completions that a teacher is asked about at once where its signals are to be stored."""


def source_of(run: Run[QuestionData]) -> Source:
    """The batches of a run, by the feed of its method."""
    feed = run.method.feed
    if isinstance(feed, CompletionFeed):
        return _completions(run, feed)
    assert isinstance(feed, RolloutFeed)
    return _rollouts(run, feed)


def asked_of(run: Run[QuestionData]) -> Asked:
    """All completions of all splits, as the student's tokenizer writes them, in their order."""
    model, data = run.student.model, run.data
    questions = sources.join_questions([part for part in data.splits.values() if len(part)])
    lacking = sum(not question.answered for question in questions)
    if lacking:
        raise DataError(
            f"{lacking} of {len(questions)} questions have no completion, about whose tokens a teacher could be asked; "
            "give completions, or leave these questions out."
        )
    return Asked(
        unit="token", batches=in_order(run, questions), facts={"tokenizer": identity.of_tokenizer(model.tokenizer)}
    )


def in_order(run: Run[QuestionData], questions: Questions) -> list[Callable[[], Batch]]:
    """Makers of the batches of all completions of some questions, as the student's tokenizer writes them."""
    model = run.student.model
    whole = sources.CompletionSource(
        questions, model.tokenizer, batch_size=1, max_length=model.context, turns=run.config.data.turns
    )
    starts = range(0, len(questions), SEQUENCES)
    return [partial(whole.batch, torch.arange(at, min(at + SEQUENCES, len(questions)))) for at in starts]


def completions(questions: Questions, model: CausalLearner, batch_size: int, seed: int) -> Source:
    """Batches of prompts with the data's completions, tokenized for a model.

    Args:
        questions: each with a completion.
        model: the model that learns from them.
        batch_size: the maximal batch size.
        seed: the seed of their order.
    """
    return sources.CompletionSource(
        questions,
        model.tokenizer,
        batch_size=min(batch_size, len(questions)),
        max_length=model.context,
        seed=seed,
        curriculum=_curriculum(questions, seed),
    )


def _completions(run: Run[QuestionData], feed: CompletionFeed) -> Source:
    """The texts that the method learns, in one stream or in two phases."""
    if not feed.first:
        return _texts(run, feed, feed.texts)
    steps, batches = run.config.budget.steps, [_texts(run, feed, part) for part in (feed.texts[:1], feed.texts[1:])]
    if steps is None:
        raise ConfigError(f"first is {feed.first:g}, a share of the steps, but the budget has none; give steps.")
    return sources.Phases(batches, steps=max(1, round(feed.first * steps)))


def _texts(run: Run[QuestionData], feed: CompletionFeed, names: Sequence[str]) -> sources.CompletionSource:
    teacher = model_of(run.teacher) if feed.tokenizers == "any" else None
    questions, model = sources.select_texts(run.data.train, names), run.student.model
    data, seed = run.config.data, hashing.stream(run.config.order_seed, "order")
    return sources.CompletionSource(
        questions,
        model.tokenizer,
        batch_size=min(run.config.batches.size, len(questions)),
        max_length=model.context if data.packing is None else min(data.packing, model.context),
        seed=seed,
        packed=data.packing is not None,
        pairs=feed.pairs,
        teacher=None if teacher is None else teacher.tokenizer,
        teacher_length=None if teacher is None else teacher.context,
        turns=data.turns,
        steps=feed.steps,
        curriculum=_curriculum(questions, seed),
    )


def _curriculum(questions: Questions, seed: int) -> Weighted | None:
    """Which questions come next, where some are to come more often than others."""
    weights = torch.from_numpy(np.fromiter((question.weight for question in questions), np.float64, len(questions)))
    return Weighted(weights, seed) if bool((weights != 1.0).any()) else None


def _rollouts(run: Run[QuestionData], feed: RolloutFeed) -> Source:
    questions, sampling = run.data.train, run.config.sampling.settled()
    seed = hashing.stream(run.config.order_seed, "order")
    writer = Writer(
        run.student.model,
        sampling,
        run.verifier,
        truth=ground_truth(run),
        seed=hashing.stream(run.config.order_seed, "samples"),
        engine=run.config.engine,
        weighted=feed.off_policy == "weighted",
        environment=environment_of(run.config.environment.kind),
        limits=run.config.environment,
    )
    return rollout_rounds(
        questions,
        writer,
        run.method.collect,
        batch_size=min(run.config.batches.size, len(questions) * sampling.samples),
        feed=feed,
        seed=seed,
        curriculum=_curriculum(questions, seed),
    )
