"""The doctor's check of images that a teacher knows in another form: another range, order of channels or of axes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from didact.errors import DidactError
from didact.experiment.checking import Check
from didact.materials.examples.answers import as_learner
from didact.parts.part import Part
from didact.types import Batch, Examples

GAIN = 0.1
"""The least gain in accuracy of another form."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of ImageNet, by which many published models scale images."""


def forms(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Images [N, C, H, W] in [0, 1] in other forms, each with its name."""
    yield "from 0 to 255", x * 255
    yield "from -1 to 1", 2 * x - 1
    yield "inverted, as 1 - x", 1 - x
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    yield "scaled to mean 0 and standard deviation 1", (x - mean) / std.clamp(min=1e-6)
    if x.shape[1] == len(_MEAN):
        middle, spread = (x.new_tensor(values).view(1, -1, 1, 1) for values in (_MEAN, _STD))
        yield "scaled as those of ImageNet", (x - middle) / spread
        yield "with their channels in the order blue, green, red", x.flip(1)
    if x.shape[2] == x.shape[3]:
        yield "with rows and columns exchanged", x.transpose(2, 3)


@torch.no_grad()
def checks(teacher: Part, known: Examples, scores: Tensor) -> Iterator[Check]:
    """Warn of a teacher that would be right far more often if the images came in another form.

    Args:
        teacher: the teacher.
        known: N labelled training examples.
        scores: its logits for them as they are, [N, C].
    """
    if known.modality != "image" or known.task != "classification" or teacher.control:
        return
    batch, label = known.batch(), known.tensors["label"]
    right = (scores.argmax(-1) == label).double()
    found = {name: hits for name, x in forms(batch["x"]) if (hits := _hits(teacher, batch, x, label)) is not None}
    if not found:
        return
    name, hits = max(found.items(), key=lambda pair: float(pair[1].mean()))
    gain = hits - right
    # Two pseudo-counts of variance, as for the order of classes.
    error = float((gain.var(unbiased=False) + 2 / len(gain)) / len(gain)) ** 0.5
    if float(gain.mean()) > max(GAIN, 4 * error):
        yield Check(
            "warn",
            "teacher's inputs",
            f"{teacher.spec} is right on {float(right.mean()):.1%} of training labels, but would be on "
            f"{float(hits.mean()):.1%} if images were {name}. Put that step into the teacher, which is given images in "
            "[0, 1], [channels, height, width].",
        )


def _hits(teacher: Part, batch: Batch, x: Tensor, label: Tensor) -> Tensor | None:
    """Which labels a teacher says of images in another form, float64 [N]; None where it refuses them."""
    try:
        scores = as_learner(teacher.model)(Batch({**batch, "x": x})).logits
    except DidactError:
        return None
    return (scores.argmax(-1) == label).double()
