"""A learner's predictions for a set of examples."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.errors import DataError, RunError
from didact.types import Batch, Examples, Output, Task, is_labelled, pixel_labels

MAP = "anomaly_map"
"""The name of the feature with anomaly maps, float [B, 1, H, W], of learners that have them."""
MASK = "defect_mask"
"""The name of the tensor with masks of defective pixels, bool [N, 1, H, W], of examples that have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A learner's predictions, with the labels."""

    logits: Tensor
    """float32 or float64 [N, C] on the CPU: class scores, or [N, 1] predicted values of a regression. Of a segmentation
    N is the number of all pixels, here and below."""
    labels: Tensor
    """int64 [N] with `IGNORE`, or float [N] with NaN, on the CPU."""
    task: Task
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the label numbers; empty for a regression."""
    maps: Tensor | None = None
    """float32 [N, 1, H, W] on the CPU: anomaly maps; None if the learner has none."""
    masks: Tensor | None = None
    """bool [N, 1, H, W] on the CPU: masks of defective pixels; None if they are not known."""

    @property
    def size(self) -> int:
        """The number of examples, N."""
        return self.labels.shape[0]

    def labelled(self) -> "Predictions":
        """Only the labelled examples.

        Raises:
            DataError: there are none.
            RunError: a prediction is not finite, so that metrics would be meaningless.
        """
        known = is_labelled(self.labels)
        if not known.any():
            raise DataError(f"None of the {self.size} examples has a label, so nothing can be scored.")
        kept = Predictions(
            logits=self.logits[known],
            labels=self.labels[known],
            task=self.task,
            classes=self.classes,
            maps=None if self.maps is None else self.maps[known],
            masks=None if self.masks is None else self.masks[known],
        )
        wrong = int((~kept.logits.isfinite()).any(1).sum())
        if wrong:
            raise RunError(
                f"The learner's predictions for {wrong} of {kept.size} examples are not finite, so they cannot be "
                "scored; train with a lower learning rate or with clip_norm."
            )
        return kept


def predict(learner: Callable[[Batch], Output], examples: Examples, *, batch_size: int = 1024) -> Predictions:
    """Compute a learner's predictions for all examples, in order.

    It runs in evaluation mode and under `torch.inference_mode`, on the device of its parameters; afterwards each of its
    modules is in its earlier mode. The random generators are not changed.

    Args:
        learner: any callable from a batch to an `Output`.
        examples: N of them.
        batch_size: the number of examples at once, at least 1; affects memory and time only.

    Raises:
        DataError: there are no examples.
    """
    if not examples.size:
        raise DataError("There are no examples to predict.")
    masks = examples.tensors.get(MASK)
    parts, maps = list[Tensor](), list[Tensor]()
    with _asking(learner) as device:
        for start in range(0, examples.size, batch_size):
            output = learner(examples.batch(slice(start, start + batch_size)).to(device))
            parts.append(output.logits)
            if masks is not None and MAP in output.features:
                maps.append(output.features[MAP])
    # Outside of inference mode, so that the result is an ordinary tensor.
    return predictions_of(
        torch.cat(parts).float().cpu(), examples, maps=torch.cat(maps).float().cpu() if maps else None
    )


def outputs_of(
    learner: Callable[[Batch], Output], examples: Examples, *, batch_size: int = 1024, dropout: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Compute a learner's scores and hidden states for all examples, in order; see `predict`.

    Args:
        learner: any callable from a batch to an `Output`.
        examples: N of them, at least one.
        batch_size: the number of examples at once, at least 1; affects memory and time only.
        dropout: the seed of a draw of its dropout; None for none.

    Returns:
        float32 [N, C], and the inputs of the head, float32 [N, D], or None where no head is known; on the CPU.
    """
    logits, hidden = list[Tensor](), list[Tensor | None]()
    with _asking(learner) as device:
        if dropout is not None:
            torch.manual_seed(dropout)
            for module in dropouts(learner):
                module.training = True
        for start in range(0, examples.size, batch_size):
            output = learner(examples.batch(slice(start, start + batch_size)).to(device))
            logits.append(output.logits.float().cpu())
            hidden.append(None if output.hidden is None else output.hidden.float().cpu())
    whole = [part for part in hidden if part is not None]
    return torch.cat(logits), torch.cat(whole) if len(whole) == len(hidden) else None


def dropouts(learner: object) -> list[nn.Module]:
    """The dropout layers of a learner that drop anything."""
    parts = learner.modules() if isinstance(learner, nn.Module) else ()
    return [part for part in parts if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0.0]


def predictions_of(logits: Tensor, examples: Examples, *, maps: Tensor | None = None) -> Predictions:
    """What was answered to examples, beside what is true; of a regression, both in the user's unit.

    Args:
        logits: [N, C], or [N, 1] in the unit of the labels, or [N * H * W, C] of pixels, on the CPU.
        examples: N of them.
        maps: see `Predictions`.
    """
    labels = pixel_labels(examples.tensors) if examples.task == "segmentation" else examples.tensors["label"]
    labels, masks, scale = labels.cpu(), examples.tensors.get(MASK), examples.scale
    return Predictions(
        logits=logits if scale is None else scale.invert(logits),
        labels=labels if scale is None else scale.invert(labels),
        task=examples.task,
        classes=examples.classes,
        maps=maps,
        masks=None if masks is None else masks.cpu(),
    )


@contextmanager
def _asking(learner: object) -> Iterator[torch.device]:
    """A context in evaluation and inference mode, which restores modes and generators; yields the learner's device."""
    parts = list(learner.modules()) if isinstance(learner, nn.Module) else []
    modes = [(module, module.training) for module in parts]
    tensors = itertools.chain.from_iterable((*part.parameters(), *part.buffers()) for part in parts[:1])
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    generators = [device] if device.type == "cuda" else []
    try:
        for module, _ in modes:
            module.training = False
        with torch.inference_mode(), torch.random.fork_rng(generators):
            yield device
    finally:
        for module, training in modes:
            module.training = training
