"""What a run on questions learns from: the data's own completions, or what the student writes."""

from didact import sources
from didact.experiment.material import Run
from didact.learners.causal import CausalLearner
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import model_of
from didact.materials.questions.verifying import ground_truth
from didact.rollouts import Writer, rollout_rounds
from didact.types import CompletionFeed, Questions, RolloutFeed, Source


def source_of(run: Run[QuestionData]) -> Source:
    """The batches of a run, by what its method is fed."""
    feed = run.method.feed
    if isinstance(feed, CompletionFeed):
        return _completions(run, feed)
    assert isinstance(feed, RolloutFeed)
    return _rollouts(run, feed)


def completions(
    questions: Questions,
    model: CausalLearner,
    batch_size: int,
    seed: int,
    *,
    pairs: bool = False,
    teacher: CausalLearner | None = None,
) -> Source:
    """Batches of questions with the data's own completions, as a model reads them.

    Args:
        questions: each with a completion.
        model: that learns from them.
        batch_size: at most so many in a batch.
        seed: of their order.
        pairs: whether each comes with its rejected one.
        teacher: whose tokens come with them, where they are others.
    """
    return sources.CompletionSource(
        questions,
        model.tokenizer,
        batch_size=min(batch_size, len(questions)),
        max_length=model.context,
        seed=seed,
        pairs=pairs,
        teacher=None if teacher is None else teacher.tokenizer,
        teacher_length=None if teacher is None else teacher.context,
    )


def _completions(run: Run[QuestionData], feed: CompletionFeed) -> Source:
    teacher = model_of(run.teacher) if feed.tokenizers == "any" else None
    size, seed = run.config.batches.size, run.config.seed
    return completions(run.data.train, run.student.model, size, seed, pairs=feed.pairs, teacher=teacher)


def _rollouts(run: Run[QuestionData], feed: RolloutFeed) -> Source:
    questions, sampling, seed = run.data.train, run.config.sampling, run.config.seed
    return rollout_rounds(
        questions,
        Writer(run.student.model, sampling, run.verifier, truth=ground_truth(run), seed=seed),
        run.method.collect,
        batch_size=min(run.config.batches.size, len(questions) * sampling.samples),
        feed=feed,
        seed=seed,
    )
