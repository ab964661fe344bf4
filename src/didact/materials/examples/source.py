"""Batches of a run on examples, of those that its method uses."""

from didact.curricula import LabelledMix
from didact.errors import DataError
from didact.experiment.material import Run
from didact.materials.examples.data import ExampleData
from didact.sources import BatchSource
from didact.types import Batch, ExampleFeed, Examples, is_labelled

SAMPLE_SIZE = 8
"""Training examples in the sample that a method is built with."""


def feed_of(run: Run[ExampleData]) -> ExampleFeed:
    """The feed of the method, known before the method is built."""
    feed = run.info.method_type.feed
    assert isinstance(feed, ExampleFeed)
    return feed


def train_of(run: Run[ExampleData]) -> Examples:
    """The student's training examples, without unlabelled ones if the method does not use them."""
    return run.data.train if feed_of(run).unlabelled else run.data.labelled


def source_of(run: Run[ExampleData]) -> BatchSource:
    """The batches of a run; a batch size above the number of examples means all of them.

    Raises:
        DataError: There are no examples.
    """
    train, feed = train_of(run), feed_of(run)
    if not train.size:
        raise DataError(
            f"None of the training examples of {train.name!r} has a label, without which {run.info.name!r} cannot "
            "learn."
        )
    known = is_labelled(train.tensors["label"])
    share = run.config.batches.labelled_share or feed.labelled_share
    mixed = share is not None and not bool(known.all())
    return BatchSource(
        train,
        batch_size=min(run.config.batches.size, train.size),
        seed=run.config.seed,
        curriculum=LabelledMix(known, share, run.config.seed) if mixed and share is not None else None,
        views=feed.views,
        augment=run.config.batches.augment,
    )


def sample_of(run: Run[ExampleData]) -> Batch:
    """A few training examples, with the views of the batches."""
    train, feed = train_of(run), feed_of(run)
    size = min(SAMPLE_SIZE, train.size)
    few = BatchSource(
        train, batch_size=size, seed=run.config.seed, views=feed.views, augment=run.config.batches.augment
    )
    return next(iter(few))
