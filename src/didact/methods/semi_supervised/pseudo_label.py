"""Pseudo-Label: learn from one's own confident answers (Lee 2013).

The student learns the labels, and its own likeliest class of each unlabelled example where it is confident enough. The
weight of the latter rises over the first part of the run, since early answers are wrong.

Departures: the paper learns every pseudo-label, which a threshold of 0 does, after 100 epochs without any; threshold
and ramp are those of USB.

Compared with semilearn/algorithms/pseudolabel/pseudolabel.py of microsoft/Semi-supervised-learning (USB): both losses
on weak views, the threshold of 0.95 and the linear ramp over 0.4 of the run agree. Values and gradients:
`tests/methods/test_confident_answers.py::test_pseudo_label_is_usbs`.

On `digits` with 40 labels, it is worse than a tuned `supervised` by 1.5 points (0.1 to 2.7), worse than
`label_spreading` by 3.9 (3.0 to 5.1), and better than itself without its mechanism ("labels alone") by 2.5 (1.8 to
3.1). Training takes 2.0 times the operations of the baseline.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.labels.gates import fixed_gate, pseudo_labels
from didact.losses.labels.pseudo import pseudo_label_counts, pseudo_label_terms
from didact.types import Batch, ExampleFeed, Learner, Method, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `pseudo_label`."""

    threshold: float = 0.95  # least confidence of a pseudo-label that is learned
    weight: float = 1.0  # final weight of the pseudo-labels' loss
    ramp_up: float = 0.4  # share of the budget over which that weight rises from 0

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, at_least=0.0, at_most=1.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("ramp_up", self.ramp_up, at_least=0.0, at_most=1.0)


class PseudoLabel(Method):
    """Learns labels, and its own confident answers.

    Args:
        config: the options.
        learner: the student.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.5, views={"weak": "weak"})

    def __init__(self, config: Config, learner: Learner) -> None:
        self.config = config
        self.learner = learner

    def loss(self, batch: Batch) -> Terms:
        """`label` over the labelled examples, `pseudo` over the others; `admitted`, the share that pass the gate."""
        logits = self.learner(batch.view("weak")).logits
        confidence, said = pseudo_labels(logits)
        gate = fixed_gate(confidence, self.config.threshold)
        risen = min(1.0, self.fraction / self.config.ramp_up) if self.config.ramp_up else 1.0
        return pseudo_label_terms(logits, batch, said, gate, weight=self.config.weight * risen)

    @torch.no_grad()
    def own_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What it teaches itself of a batch: classes, int64 [B], and their weights, float [B]."""
        confidence, said = pseudo_labels(self.learner(batch).logits)
        return said, fixed_gate(confidence, self.config.threshold)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the labels, the others for the pseudo-labels."""
        return pseudo_label_counts(batch)


CLAIM = Claim(
    statement="With few labels, a student that learns its own confident answers beats one that learns labels alone.",
    arms={
        "pseudo_label": {"method": "pseudo_label", "batch_size": 80},
        "supervised": {"method": "supervised", "augment": "weak"},
        "label_spreading": "label_spreading",
        "labels alone": {"method": "pseudo_label", "weight": 0.0, "batch_size": 80},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="pseudo_label",
    baseline="supervised",
    cheap="label_spreading",
    ablation="labels alone",
    untaught="untaught",
    world="digits",
    smallest_effect=0.02,
    settings={"labels": 40, "steps": 250, "student": "mlp:128", "lr": 0.01},
    search={
        "pseudo_label": {"threshold": (0.8, 0.95), "lr": (0.003, 0.01)},
        "supervised": {"augment": ("weak", "strong"), "lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(1420, 1421, 1422, 1423, 1424, 1425, 1426, 1427, 1428, 1429, 1430, 1431),
    shows="Confident answers as labels of the same view.",
    omits="The paper's denoising autoencoder, and its MNIST with 600 labels.",
)
