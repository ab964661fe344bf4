"""HSSDA: two thresholds for each class, taken from what the teacher says of the labels (Liu et al. 2023).

The average of the student's weights is the teacher. Now and then, its confidences in right answers to labelled examples
are divided into two groups for each class, whose means are the thresholds of that class. A pseudo-label above the
higher one is learned like a label, one between them with its confidence as weight, and one below not at all. The
average is delivered.

Departures: classes of examples in the place of boxes in point clouds, of whose three scores (class, objectness, overlap
under another view) there is one; what is below the lower threshold is left out of the loss, as its points are of the
scene; the strong view is `strong`, as shuffled patches whose features are put back in order need a map of features.

Compared with tools/train_utils/mine_pseudo_instance.py and pcdet/models/detectors/pv_rcnn_ssl.py of azhuantou/HSSDA:
k-means with two centres on the scores of matched predictions, cut to two digits, 0.99 for both where there are at most
two scores, the weights and the strict comparisons agree. Values and gradients:
`tests/methods/test_confident_answers.py::test_two_thresholds_are_the_authors`.

On `digits` with 40 labels, it is equivalent to a tuned `fixmatch` (-0.3 points, -1.2 to +0.7), undecided against
`label_spreading` (+1.2, -0.7 to +3.0), and equivalent to itself without its mechanism ("not adapted") (+1.1, +0.3 to
+1.9).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.labels.gates import admitted_share, graded_gate, pseudo_labels, two_thresholds
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.memory import PerExample
from didact.teachers import AveragingMethod
from didact.types import Batch, Buffer, ExampleFeed, Learner, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `two_thresholds`."""

    threshold: float = 0.99  # both thresholds of a class with too few right answers
    adaptive: bool = True  # whether thresholds follow the teacher; `threshold` is used for all classes otherwise
    every: int = 10  # steps between two estimates of the thresholds
    weight: float = 1.0  # weight of the pseudo-labels' loss
    ema_decay: float = 0.999  # decay of the average that teaches and is delivered

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, at_least=0.0, at_most=1.0)
        check_range("every", self.every, at_least=1)
        check_range("weight", self.weight, at_least=0.0)
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)


class TwoThresholds(AveragingMethod):
    """Learns its average's answers as labels, by weight, or not at all.

    Args:
        config: the options.
        learner: the student.
        sample: a few examples, to find the number of classes.
        size: the number of training examples.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.125, views={"weak": "weak", "strong": "strong"}, coupled=True)

    def __init__(self, config: Config, learner: Learner, sample: Batch, size: int) -> None:
        super().__init__(learner, config.ema_decay)
        self.config = config
        self.scores = PerExample(size, {"confidence": (), "kind": ()}, dtypes={"kind": torch.int64})
        self.thresholds = Buffer(torch.full((learner(sample).logits.shape[-1], 2), config.threshold))

    def loss(self, batch: Batch) -> Terms:
        """`label` over the labelled examples, `pseudo` over the others; `admitted`, the mean weight of these."""
        known = is_labelled(batch["label"])
        unlabelled = (~known).float()
        with torch.no_grad():
            confidence, said = pseudo_labels(self.teacher.learner(batch.view("weak")).logits)
        self.note(batch, confidence, said)
        gate = self.gate(confidence, said)
        logits = self.learner(batch.either(known, "weak", "strong")).logits
        return Terms(
            label=label_loss(logits, batch["label"], weight=batch.label_weight),
            pseudo=cross_entropy(logits, said, trust=unlabelled, weight=gate).times(self.config.weight),
            admitted=admitted_share(gate, unlabelled),
        )

    def gate(self, confidence: Tensor, said: Tensor) -> Tensor:
        """The weights of answers with these confidences and classes, [B] each."""
        low, high = self.thresholds.value.to(confidence)[said].unbind(-1)
        return graded_gate(confidence, low, high)

    def note(self, batch: Batch, confidence: Tensor, said: Tensor) -> None:
        """Keep the confidences in right answers, and now and then take the thresholds from them."""
        if not self.config.adaptive:
            return
        label, rows, confidence, said = map(self.place.gather, (batch["label"], batch["row"], confidence, said))
        known = is_labelled(label)
        self.scores.put(rows[known], "confidence", confidence[known])
        self.scores.put(rows[known], "kind", torch.where(said == label, label, -1)[known])
        if self.step % self.config.every == 0:
            kept, classes = self.scores, len(self.thresholds.value)
            confidence, kind = (kept.get_buffer(name)[kept.seen] for name in ("confidence", "kind"))
            self.thresholds.value = two_thresholds(confidence, kind, classes, self.config.threshold)

    @torch.no_grad()
    def own_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What it teaches itself of a batch: classes, int64 [B], and their weights, float [B]."""
        confidence, said = pseudo_labels(self.teacher.learner(batch).logits)
        return said, self.gate(confidence, said)


CLAIM = Claim(
    statement="Two thresholds for each class, from the teacher's answers to labels, beat a fixed one for all.",
    arms={
        "two_thresholds": {"method": "two_thresholds", "batch_size": 128, "labelled_share": 0.3},
        "fixmatch": {"method": "fixmatch", "batch_size": 128, "labelled_share": 0.3},
        "label_spreading": "label_spreading",
        "not adapted": {"method": "two_thresholds", "adaptive": False, "batch_size": 128, "labelled_share": 0.3},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="two_thresholds",
    baseline="fixmatch",
    cheap="label_spreading",
    ablation="not adapted",
    untaught="untaught",
    world="digits",
    smallest_effect=0.02,
    settings={"labels": 40, "steps": 250, "student": "mlp:128", "lr": 0.01},
    search={
        "two_thresholds": {"lr": (0.003, 0.005, 0.01)},
        "fixmatch": {"lr": (0.003, 0.005, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(600, 601, 602, 603, 604, 605, 606, 607, 608, 609, 610, 611),
    shows="Thresholds by class from two means of confidences, and three kinds of pseudo-labels.",
    omits="Point clouds, boxes, three scores for each, and shuffled patches.",
    systems=("hierarchical-supervision-and-shuffle-data-augmen",),
)
