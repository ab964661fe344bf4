"""Running averages of the learner's own predictions, one for each example."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from didact.errors import check_range
from didact.memory.per_example import PerExample


class Predictions(PerExample):
    """An exponential moving average of probabilities for each example, from zeros.

    Args:
        size: the number of examples, N.
        classes: the number of classes, C.
        decay: in [0, 1), the weight of the old average.

    Raises:
        ConfigError: a size below 1, or a decay out of range.
    """

    average: Tensor
    """float32 [N, C]; after n updates of a row, its sum is 1 - decay^n."""

    def __init__(self, size: int, classes: int, *, decay: float) -> None:
        super().__init__(size, {"average": (classes,)})
        check_range("decay", decay, at_least=0.0, below=1.0)
        self.decay = decay

    @torch.no_grad()
    def update(self, rows: Tensor, probs: Tensor) -> Tensor:
        """Add predictions.

        Args:
            rows: int64 [B].
            probs: float [B, C], each adding up to 1.

        Returns:
            The new averages, float32 [B, C].
        """
        average = self.decay * self.get(rows, "average") + (1.0 - self.decay) * probs.float()
        self.put(rows, "average", average)
        return average

    def probs(self) -> Tensor:
        """The averages as probabilities, float32 [N, C]; the same for all classes in rows that were never predicted."""
        total = self.average.sum(1, keepdim=True)
        return torch.where(total > 0, self.average / total, 1.0 / self.average.shape[1])


class LabelEvidence(NamedTuple):
    """What a method has learned of the labels of N examples, from which the wrong ones can be found."""

    probs: Tensor
    """float [N, C], of each class, from predictions that had not memorised the label."""
    seen: Tensor
    """bool [N], the examples that were predicted."""
    source: str
    """What the probabilities are, as a noun, such as "the running average of its own predictions"."""
    scores: Mapping[str, Tensor] = MappingProxyType({})
    """Scores of the method's own by name, float [N], higher for a label that is more likely to be wrong."""


@runtime_checkable
class JudgesLabels(Protocol):
    """A method that says which labels may be wrong."""

    def label_evidence(self) -> LabelEvidence:
        """What it has learned of the labels of its training examples."""
        ...
