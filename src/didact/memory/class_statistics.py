"""What a student predicts over time: how often each class, how confidently, and for which examples."""

import torch
from torch import Tensor, nn

from didact.errors import check_range
from didact.memory.per_example import PerExample


class ClassStatistics(nn.Module):
    """Exponential moving averages of predictions. They carry no gradient.

    The decay rises as min(decay, (1 + n) / (10 + n)) over updates n, so that the start is forgotten in short runs too.

    Args:
        classes: the number of classes, C.
        decay: in [0, 1).

    Raises:
        ConfigError: the number of classes or the decay is out of range.
    """

    updates: Tensor
    """float scalar, their number."""
    probs: Tensor
    """float32 [C], the mean probability of each class; 1/C at the start."""
    histogram: Tensor
    """float32 [C], the share of predictions of each class; 1/C at the start."""
    confidence: Tensor
    """float32 scalar, the mean probability of the likeliest class; 1/C at the start."""
    variance: Tensor
    """float32 scalar, the variance of that probability within a batch; 1 at the start."""

    def __init__(self, classes: int, decay: float = 0.999) -> None:
        super().__init__()
        check_range("classes", classes, at_least=1)
        check_range("decay", decay, at_least=0.0, below=1.0)
        self.decay = decay
        with torch.inference_mode(False):  # as in `PerExample`
            self.register_buffer("updates", torch.zeros(()))
            self.register_buffer("probs", torch.full((classes,), 1.0 / classes))
            self.register_buffer("histogram", torch.full((classes,), 1.0 / classes))
            self.register_buffer("confidence", torch.tensor(1.0 / classes))
            self.register_buffer("variance", torch.ones(()))

    @torch.no_grad()
    def update(self, probs: Tensor, counted: Tensor) -> None:
        """Add a batch.

        Args:
            probs: float [B, C], of the predictions.
            counted: float [B], 1 for the predictions that count, 0 for others. If none does, nothing changes.
        """
        number = counted.sum()
        share = (counted / number.clamp(min=1.0)).unsqueeze(1)
        confidence, label = probs.max(-1, keepdim=True)
        mean = (confidence * share).sum()
        spread = ((confidence - mean).square() * share).sum() * number / (number - 1.0).clamp(min=1.0)
        histogram = torch.zeros_like(probs).scatter_(1, label, share).sum(0)
        step = torch.where(number > 0, 1.0 - self._present_decay(), 0.0)
        self.probs.lerp_((probs * share).sum(0), step)
        self.histogram.lerp_(histogram, step)
        self.confidence.lerp_(mean, step)
        self.variance.lerp_(spread, step)
        self.updates.add_(number > 0)

    def _present_decay(self) -> Tensor:
        return ((1.0 + self.updates) / (10.0 + self.updates)).clamp(max=self.decay)


class ConfidentLabels(PerExample):
    """The class that each example was last predicted as with confidence.

    Args:
        size: the number of examples, N.
        classes: the number of classes, C.
    """

    label: Tensor
    """int64 [N]; 0 where nothing is written."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__(size, {"label": ()}, dtypes={"label": torch.int64})
        self.classes = classes

    @torch.no_grad()
    def update(self, rows: Tensor, labels: Tensor, sure: Tensor) -> None:
        """Add a batch.

        Args:
            rows: int64 [B].
            labels: int64 [B], the predicted classes.
            sure: bool [B], whether each is confident; the others change nothing.
        """
        self.put(rows[sure], "label", labels[sure])

    def learned(self) -> Tensor:
        """How well each class is learned: the examples that are counted for it, over the most for any class.

        While there are more examples without a class, their number is divided by instead (Zhang et al. 2021, FlexMatch,
        equations 5 and 12).

        Returns:
            float32 [C] in [0, 1].
        """
        counts = torch.zeros(self.classes, device=self.label.device).index_add_(0, self.label, self.seen.float())
        return counts / torch.maximum(counts.max(), len(self) - counts.sum()).clamp(min=1.0)
