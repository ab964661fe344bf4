"""FixMatch: consistency and confidence (Sohn et al. 2020).

The student's answer to a weakly augmented example becomes its label if the student is confident enough; the student
learns it on a strongly augmented view of the same example. It learns the labels on weak views. The average of its
weights is delivered.

Departures: the labelled examples are not also learned as unlabelled ones; the strong view is `strong`, not
RandAugment; the average's decay rises as min(decay, (1 + n) / (10 + n)) over steps n.

Compared with semilearn/algorithms/fixmatch/fixmatch.py and utils/loss.py of microsoft/Semi-supervised-learning (USB):
hard labels, the threshold of 0.95 that confidences reach or not, the mean over all unlabelled examples, the weight of 1
and a ratio of 1 to 7 agree. Values and gradients: `tests/methods/test_confident_answers.py::test_fixmatch_is_usbs`.

On `digits` with 40 labels, it is better than a tuned `supervised` by 2.9 points (1.6 to 4.3), undecided against
`label_spreading` (+0.4, -1.4 to +2.3), and better than itself without its mechanism ("labels alone") by 7.4 (5.5 to
9.4). Training takes 4.3 times the operations of the baseline.
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.labels.gates import fixed_gate, pseudo_labels
from didact.losses.labels.pseudo import pseudo_label_counts, pseudo_label_terms
from didact.teachers import SelfLabellingMethod
from didact.types import Batch, ExampleFeed, Learner, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `fixmatch`."""

    threshold: float = 0.95  # least confidence of a pseudo-label that is learned
    weight: float = 1.0  # weight of the pseudo-labels' loss
    ema_decay: float = 0.999  # decay of the average that is delivered

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, at_least=0.0, at_most=1.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)


class FixMatch(SelfLabellingMethod):
    """Learns its own confident answers to weak views on strong views.

    Args:
        config: the options.
        learner: the student.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.125, views={"weak": "weak", "strong": "strong"})

    def __init__(self, config: Config, learner: Learner) -> None:
        super().__init__(learner, config.ema_decay)
        self.config = config

    def loss(self, batch: Batch) -> Terms:
        """`label` over the labelled examples, `pseudo` over the others; `admitted`, the share that pass the gate."""
        said, gate = self.admit(self.weak_logits(batch))
        return pseudo_label_terms(self.strong_logits(batch), batch, said, gate, weight=self.config.weight)

    def admit(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Lets in the answers whose confidence reaches the threshold."""
        confidence, said = pseudo_labels(logits)
        return said, fixed_gate(confidence, self.config.threshold)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the labels, the others for the pseudo-labels."""
        return pseudo_label_counts(batch)


CLAIM = Claim(
    statement="A student that learns its own confident answers on strong views beats one that learns few labels alone.",
    arms={
        "fixmatch": {"method": "fixmatch", "batch_size": 128, "labelled_share": 0.3},
        "supervised": {"method": "supervised", "augment": "weak"},
        "label_spreading": "label_spreading",
        "labels alone": {"method": "fixmatch", "weight": 0.0, "batch_size": 128, "labelled_share": 0.3},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="fixmatch",
    baseline="supervised",
    cheap="label_spreading",
    ablation="labels alone",
    untaught="untaught",
    world="digits",
    smallest_effect=0.02,
    settings={"labels": 40, "steps": 250, "student": "mlp:128", "lr": 0.01},
    search={
        "fixmatch": {"threshold": (0.8, 0.95), "lr": (0.003, 0.01)},
        "supervised": {"augment": ("weak", "strong"), "lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(1400, 1401, 1402, 1403, 1404, 1405, 1406, 1407, 1408, 1409, 1410, 1411),
    shows="Confident answers to weak views as labels of strong views, beside as many augmented labels.",
    omits="Deep nets on natural images, RandAugment, and 250 steps where the paper has 2^20.",
)
