"""Runs on masks: methods of single examples, shown pixels; and what does not work with them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from didact.catalogue import MethodInfo
from didact.errors import ConfigError
from didact.evaluation import wording
from didact.experiment.checking import Check
from didact.parts.part import Part
from didact.sources import Splits
from didact.types import IGNORE, MASK, Batch, Examples, pixel_labels

METHODS = (
    *("supervised", "distill", "mean_teacher", "pseudo_label", "fixmatch", "flexmatch", "freematch", "softmatch"),
    *("dual_mean_teacher", "decoupled", "sce", "mutual_learning"),
)
"""The methods of single examples that are tested to do with pixels what they do with examples."""


def refuse(info: MethodInfo, student: Part, spec: str, train: Examples) -> None:
    """Check that a method and its student work with masks.

    Args:
        info: the method.
        student: the part.
        spec: as it was given.
        train: the training examples.

    Raises:
        ConfigError: one of them does not.
    """
    if info.name not in METHODS and "segmentation" not in getattr(info.method_type.feed, "tasks", ()):
        raise ConfigError(
            f"The method {info.name!r} compares, mixes or describes whole examples, and is not made for masks; choose "
            f"one that learns each pixel, such as {', '.join(METHODS[:5])}."
        )
    few = train.batch(slice(0, 1))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            answered = student.model(few).logits
        except RuntimeError as error:
            raise ConfigError(
                f"student is {spec!r}, which cannot read images of shape {list(train.shape)} "
                f"({' '.join(str(error).split())[:200]}); for masks give a fully convolutional net, such as fcn:16,16."
            ) from error
    refuse_shape("student", spec, answered.shape[0], few)


def refuse_shape(role: str, spec: str, answers: int, few: Batch) -> None:
    """Refuse a model that does not answer once for each pixel.

    Args:
        role: of the model.
        spec: as it was given.
        answers: how often it answered.
        few: what it was shown.

    Raises:
        ConfigError: it answered another number of times.
    """
    if answers != few[MASK].numel():
        each = "once for a whole image" if answers == few.size else f"{answers / few.size:g} times for an image"
        raise ConfigError(
            f"{role} is {spec!r}, which answers {each}, but the masks have {few[MASK][0].numel()} pixels; give a fully "
            "convolutional net, such as fcn:16,16."
        )


def check(splits: Splits) -> Check:
    """The doctor's check of the classes: those without a pixel in the training or the test masks."""
    lacking = [
        f"no {name} mask has {_names(absent, splits.train)}"
        for name, part in (("training", splits.train), ("test", splits.test))
        if (absent := _counts(part) == 0).any()
    ]
    if lacking:
        return Check("warn", "classes", f"{'; '.join(lacking).capitalize()}.")
    return Check("pass", "classes", f"Every class has pixels: {_shares(_counts(splits.train), splits.train)}.")


def notes(examples: Examples, confusion: Sequence[Sequence[int]]) -> Iterator[str]:
    """A note on the intersection over union of each class, and on classes that are never predicted.

    Args:
        examples: for the names.
        confusion: counts [C, C] by label and prediction on the test pixels; may be empty.
    """
    if not confusion:
        return
    table = torch.tensor(confusion)
    hits, truths, said = table.diagonal(), table.sum(1), table.sum(0)
    union = truths + said - hits
    shown = [
        f"{name} {wording.figure('mean_iou', float(hits[place] / union[place]))}%"
        for place, name in enumerate(examples.classes)
        if union[place] > 0
    ]
    yield f"Intersection over union by class: {', '.join(shown)}."
    if (silent := (truths > 0) & (said == 0)).any():
        yield f"The student never predicts {_names(silent, examples)}, though test masks have pixels of it."


def _counts(part: Examples) -> Tensor:
    label = pixel_labels(part.tensors)
    return label[label != IGNORE].bincount(minlength=len(part.classes))


def _names(where: Tensor, examples: Examples) -> str:
    return ", ".join(repr(examples.classes[place]) for place in where.nonzero()[:, 0].tolist())


def _shares(counts: Tensor, examples: Examples) -> str:
    shares = (counts / counts.sum()).tolist()
    return ", ".join(f"{name} {share:.1%}" for name, share in zip(examples.classes, shares, strict=True))
