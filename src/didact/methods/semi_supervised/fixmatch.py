"""FixMatch: consistency and confidence (Sohn et al. 2020).

The student's answer to a weakly augmented example becomes its label if the student is confident enough; the student
learns it on a strongly augmented view of the same example. It learns the labels on weak views. The average of its
weights is delivered.

Departures: the labelled examples are not also learned as unlabelled ones; the strong view is `strong`, not
RandAugment; the average's decay rises as min(decay, (1 + n) / (10 + n)) over steps n.

Compared with semilearn/algorithms/fixmatch/fixmatch.py and utils/loss.py of microsoft/Semi-supervised-learning (USB):
hard labels, the threshold of 0.95 that confidences reach or not, the mean over all unlabelled examples, the weight of 1
and a ratio of 1 to 7 agree. Values and gradients: `tests/methods/test_confident_answers.py::test_fixmatch_is_usbs`.

On `digits` with 40 labels, it is better than a tuned `supervised` by 4.4 points (2.4 to 6.4), undecided against
`label_spreading` (+0.9, -0.4 to +2.3), and better than itself without its mechanism ("labels alone") by 6.8 (4.7 to
9.0). Training takes 4.7 times the operations of the baseline.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.labels.gates import admitted_share, fixed_gate, pseudo_labels
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.teachers import AveragingMethod
from didact.types import Batch, ExampleFeed, Learner, Terms, is_labelled


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


class FixMatch(AveragingMethod):
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
        known = is_labelled(batch["label"])
        unlabelled = (~known).float()
        said, gate = self.own_labels(batch.view("weak"))
        logits = self.learner(batch.either(known, "weak", "strong")).logits
        return Terms(
            label=label_loss(logits, batch["label"], weight=batch.label_weight),
            pseudo=cross_entropy(logits, said, trust=unlabelled, weight=gate).times(self.config.weight),
            admitted=admitted_share(gate, unlabelled),
        )

    @torch.no_grad()
    def own_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What it teaches itself of a batch: classes, int64 [B], and their weights, float [B]."""
        confidence, said = pseudo_labels(self.learner(batch).logits)
        return said, fixed_gate(confidence, self.config.threshold)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the labels, the others for the pseudo-labels."""
        known = is_labelled(batch["label"]).sum()
        return {"label": known, "pseudo": batch.size - known, "admitted": batch.size - known}


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
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411),
    shows="Confident answers to weak views as labels of strong views, beside as many augmented labels.",
    omits="Deep nets on natural images, RandAugment, and 250 steps where the paper has 2^20.",
)
