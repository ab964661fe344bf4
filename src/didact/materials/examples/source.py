"""Batches of a run on examples, of those that its method uses."""

from typing import Any, cast

import torch
from torch import Tensor

from didact import hashing
from didact.curricula import Among, LabelledMix, Weighted
from didact.curricula.acquisition import FOR_NUMBERS
from didact.errors import ConfigError, DataError
from didact.experiment.material import Run
from didact.materials.examples.data import ExampleData
from didact.sources import BatchConfig, BatchSource, LabelPool, PoolRounds
from didact.types import Batch, ExampleFeed, Examples, Strength, is_labelled

SAMPLE_SIZE = 8
"""Training examples in the sample that a method is built with."""


def feed_of(run: Run[ExampleData]) -> ExampleFeed:
    """The feed of the method, known before the method is built."""
    feed = run.info.method_type.feed
    assert isinstance(feed, ExampleFeed)
    return feed


def train_of(run: Run[ExampleData]) -> Examples:
    """The student's training examples, without unlabelled ones if the method does not use them.

    Raises:
        ConfigError: No example at all has a label, and the method needs some.
    """
    feed = feed_of(run)
    if feed.adapts:
        return _target(run.data.train)
    alone = feed.unlabelled and feed.labelled_share is None and feed.teacher == "classes"
    if not (alone or run.data.has_labels):
        raise ConfigError(
            f"No example of {run.data.examples.name!r} has a label, but the method {run.info.name!r} needs some; give "
            "labels, or use a method that learns from a teacher's answers alone, such as distill."
        )
    return run.data.train if feed.unlabelled else run.data.labelled


def views_of(run: Run[ExampleData]) -> dict[str, Strength]:
    """The views of a method by name: as it asks for them, or as `views` of the run says.

    Raises:
        ConfigError: `views` names one that the method does not ask for.
    """
    asked, given = feed_of(run).views, run.config.batches.views
    for name in given:
        if name not in asked:
            known = f"its views are {', '.join(asked)}" if asked else "it has none; use augment to vary the inputs"
            raise ConfigError(f"views names {name!r}, but the method {run.info.name!r} has no such view: {known}.")
    return {name: cast(Strength, given.get(name, strength)) for name, strength in asked.items()}


def _target(train: Examples) -> Examples:
    """The examples of another domain.

    Raises:
        ConfigError: There are none.
    """
    label, domain = train.tensors["label"], train.tensors.get("domain")
    there = ~is_labelled(label) if domain is None else domain == 1
    if not bool(there.any()):
        raise ConfigError(
            f"All rows of {train.name!r} have a label, so that there is no other domain to adapt to; give a file of "
            "its rows (--unlabelled FILE), or adapt a finished run: didact adapt RUN --data FILE."
        )
    return train.select(there)


def source_of(run: Run[ExampleData]) -> BatchSource | PoolRounds:
    """The batches of a run; a batch size above the number of examples means all of them.

    Raises:
        DataError: There are no examples.
        ConfigError: The method asks for labels, but there are none to ask for.
    """
    train, feed = train_of(run), feed_of(run)
    if feed.asks:
        return _rounds(run, train)
    if not train.size:
        raise DataError(
            f"None of the training examples of {train.name!r} has a label, without which {run.info.name!r} cannot "
            "learn."
        )
    known = is_labelled(train.tensors["label"])
    share = run.config.batches.labelled_share or feed.labelled_share
    curriculum, seed = None, hashing.stream(run.config.order_seed, "order")
    if feed.chooses:
        curriculum = _chosen(run)
    elif run.config.batches.sampler == "balanced":
        curriculum = Weighted(sampling_weights(train.tensors["label"], share), seed)
    elif share is not None and not bool(known.all()):
        curriculum = LabelledMix(known, share, seed)
    if run.config.batches.class_weights == "balanced":
        train = train.with_tensors(label_weight=class_weights(train.tensors["label"]))
    return BatchSource(
        train,
        batch_size=min(run.config.batches.size, train.size),
        seed=seed,
        curriculum=curriculum,
        views=views_of(run),
        augment=run.config.batches.augment,
    )


def _chosen(run: Run[ExampleData]) -> Among:
    """The rows that the method chooses.

    Raises:
        ConfigError: The run says how to choose them, too.
    """
    if run.config.batches.labelled_share is not None or run.config.batches.sampler != "uniform":
        raise ConfigError(
            f"The method {run.info.name!r} chooses the rows of its batches; leave out labelled_share and sampler."
        )
    method: Any = run.method
    return method.curriculum


def _rounds(run: Run[ExampleData], train: Examples) -> PoolRounds:
    """Rounds of queries among the training examples whose label is hidden."""
    options, answers = run.options, run.data.splits.train.tensors["label"]
    if options.oracle == "teacher":
        answers = train.tensors["label"]
    pool = LabelPool(
        train,
        answers,
        batch_size=run.config.batches.size,
        price=options.price,
        asks_all=options.oracle == "teacher",
    )
    if not bool(pool.known.any()) or not pool.count(1):
        raise ConfigError(
            f"The method {run.info.name!r} asks for labels, but it knows {int(pool.known.sum())} of {train.size} at "
            "first; give a number of labels (--labels) so that some are known and the others are not."
        )
    usual = BatchConfig(size=run.config.batches.size, seed=run.config.batches.seed)
    if run.config.batches != usual:
        raise ConfigError(
            f"The method {run.info.name!r} makes batches of its own; leave out labelled_share, class_weights, sampler "
            "and augment."
        )
    if train.task == "regression" and (options.ask not in FOR_NUMBERS or options.pseudo != "none"):
        raise ConfigError(
            f"ask is {options.ask!r} and pseudo {options.pseudo!r}, but the data are a regression; ask by "
            f"{', '.join(FOR_NUMBERS)}, without pseudo-labels."
        )
    return PoolRounds(pool, run.method, steps=options.round_steps, restart=options.restart)


def class_weights(label: Tensor) -> Tensor:
    """The weight of each example's class: the labels of all classes over that of C times its own.

    That is scikit-learn's `class_weight="balanced"`. The mean over the labelled examples is 1.

    Args:
        label: int64 [N] with `IGNORE`; classes that do not occur do not count.

    Returns:
        float32 [N]; 1 for unlabelled examples.
    """
    known = is_labelled(label)
    counts = label[known].bincount()
    weight = torch.ones(len(label), dtype=torch.float64)
    weight[known] = len(label[known]) / (int((counts > 0).sum()) * counts[label[known]].double())
    return weight.float()


def sampling_weights(label: Tensor, share: float | None = None) -> Tensor:
    """How often each example is drawn, relative to others, where each class is drawn as often as any other.

    That is one over the number of its class's labels, as torch's `WeightedRandomSampler` is usually given.

    Args:
        label: int64 [N] with `IGNORE`.
        share: the share of labelled examples in the draws, in (0, 1); that among the N by default.

    Returns:
        float64 [N], adding up to 1.
    """
    known = is_labelled(label)
    if share is None or bool(known.all()):
        share = float(known.double().mean())
    counts = label[known].bincount()
    weight = torch.full(label.shape, (1.0 - share) / max(int((~known).sum()), 1), dtype=torch.float64)
    weight[known] = share / int((counts > 0).sum()) / counts[label[known]].double()
    return weight


def sample_of(run: Run[ExampleData]) -> Batch:
    """A few training examples, with the views of the batches."""
    train = train_of(run)
    size = min(SAMPLE_SIZE, train.size)
    seed = hashing.stream(run.config.order_seed, "order")
    few = BatchSource(train, batch_size=size, seed=seed, views=views_of(run), augment=run.config.batches.augment)
    return next(iter(few))
