"""What a run on questions learns from: the data's own completions, or what the student writes."""

from typing import Any

from didact import sources
from didact.experiment.material import Run
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import model_of
from didact.materials.questions.verifying import truth_of
from didact.rollouts import Writer, rollout_rounds
from didact.types import CompletionFeed, Questions, RolloutFeed, Source


def source_of(run: Run[QuestionData]) -> Source:
    """The batches of a run, by what its method is fed."""
    feed = run.method.feed
    if isinstance(feed, CompletionFeed):
        return _completions(run, feed)
    assert isinstance(feed, RolloutFeed)
    return _rollouts(run, feed)


def completions(questions: Questions, model: Any, batch_size: int, seed: int, **kind: Any) -> Source:
    """Batches of questions with the data's own completions, as a model reads them."""
    return sources.CompletionSource(
        questions,
        model.tokenizer,
        batch_size=min(batch_size, len(questions)),
        max_length=model.context,
        seed=seed,
        **kind,
    )


def _completions(run: Run[QuestionData], feed: CompletionFeed) -> Source:
    kind: dict[str, Any] = {"pairs": feed.pairs}
    teacher = model_of(run.teacher)
    if feed.tokenizers == "any" and teacher is not None:
        kind |= {"teacher": teacher.tokenizer, "teacher_length": teacher.context}
    return completions(run.data.train, run.student.model, run.config.batches.size, run.config.seed, **kind)


def _rollouts(run: Run[QuestionData], feed: RolloutFeed) -> Source:
    questions, sampling, seed = run.data.train, run.config.sampling, run.config.seed
    return rollout_rounds(
        questions,
        Writer(run.student.model, sampling, run.verifier, truth=truth_of(run), seed=seed),
        run.method.collect,
        batch_size=min(run.config.batches.size, len(questions) * sampling.samples),
        feed=feed,
        seed=seed,
    )
