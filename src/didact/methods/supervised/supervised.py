"""Plain training on the labels: the baseline that every other method must beat.

The learner minimises the cross-entropy of the labels, or the squared error of a regression. Examples without a label
are left out.

Departures: none; there is no paper.

Compared with torch/nn/functional.py of pytorch/pytorch: `cross_entropy` agrees, with smoothing and missing labels,
except that weights of classes are divided by the number of labels, not by their sum. Values and gradients:
`tests/methods/test_methods.py::test_supervised_is_torchs_cross_entropy_and_its_gradient`.
"""

from dataclasses import dataclass

from torch import Tensor

from didact.errors import check_range
from didact.losses.labels.supervised import label_loss
from didact.types import Batch, ExampleFeed, Learner, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `supervised`."""

    label_smoothing: float = 0.0  # share of each label's probability that is spread over all classes

    def __post_init__(self) -> None:
        check_range("label_smoothing", self.label_smoothing, at_least=0.0, below=1.0)


class Supervised(Method):
    """Train on labels.

    Args:
        config: the options.
        learner: the student.
    """

    feed = ExampleFeed(tasks=("classification", "regression"))

    def __init__(self, config: Config, learner: Learner) -> None:
        self.config = config
        self.learner = learner

    def loss(self, batch: Batch) -> Terms:
        """`label`: cross-entropy or squared error over the examples that have a label."""
        logits, smoothing = self.learner(batch).logits, self.config.label_smoothing
        term = label_loss(logits, batch["label"], weight=batch.label_weight, label_smoothing=smoothing)
        return Terms(label=term)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The number of labels."""
        return {"label": is_labelled(batch["label"]).sum()}
