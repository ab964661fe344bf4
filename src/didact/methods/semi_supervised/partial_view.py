"""GeoDistill: a teacher that sees everything, a student that sees a part (Tong, Xia, Alahi, He & Shi 2025).

The average of the student's weights says where it is from the whole view around. The student must say the same from a
part of it, a field of view that is cut out anew each time. After a while with labels alone, it learns its cross-entropy
with the teacher's sharpened answer, over all places, on all examples. The average is delivered.

Departures: places are classes; the authors' are those of a map of similarities between a panorama and an aerial image,
on which their features, a net for the direction, and a first stage with pairs in place of labels work. Labels are
learned along with it, where the authors go on from that first stage.

Compared with model/loss.py, train_vigor.py, dataset/VIGOR.py and dataset/config_vigor.json of tongshw/GeoDistill: the
cross-entropy over places, the ratio of the temperatures 0.2 and 0.09 (those of its configurations are equal), zeros
where nothing is seen, and fields of view of 180 to 240 degrees agree; its decay is 0.99 or 0.9. Values and gradients:
`tests/methods/test_partial_view.py::test_partial_view_is_the_authors`.

On `landmarks` with 160 labels, it is equivalent to a tuned `supervised` (-0.3 points, -1.8 to +1.2), better than
`label_spreading` by 2.7 (0.7 to 4.7), and equivalent to itself without its mechanism ("the whole alone") (-0.5, -1.7 to
+0.6). Training takes 4.5 times the operations of the baseline.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.learners.masking import field_of_view
from didact.losses.labels.dividing import sharpen
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.teachers import AveragingMethod
from didact.types import Batch, ExampleFeed, Learner, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `partial_view`."""

    least: float = 0.5  # smallest share of the last dimension of an input that the student sees
    most: float = 0.667  # greatest share; each example's is drawn between the two
    temperature: float = 0.45  # that of the teacher's answer, in the student's
    weight: float = 1.0  # weight of the teacher's answer
    labels_first: float = 0.4  # share of the budget in which labels alone are learned
    ema_decay: float = 0.99  # decay of the average that teaches and is delivered

    def __post_init__(self) -> None:
        check_range("least", self.least, above=0.0, at_most=1.0)
        check_range("most", self.most, at_least=self.least, at_most=1.0)
        check_range("temperature", self.temperature, above=0.0, below=math.inf)
        check_range("weight", self.weight, at_least=0.0, below=math.inf)
        check_range("labels_first", self.labels_first, at_least=0.0, below=1.0)
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)


class PartialView(AveragingMethod):
    """Learns from parts of inputs what its average says of the whole.

    Args:
        config: the options.
        learner: the student.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.25)

    def __init__(self, config: Config, learner: Learner) -> None:
        super().__init__(learner, config.ema_decay)
        self.config = config

    def loss(self, batch: Batch) -> Terms:
        """`label` over the labelled examples, seen whole; then also `teacher` over all of them, seen in part."""
        terms = Terms(label=label_loss(self.learner(batch).logits, batch["label"], weight=batch.label_weight))
        if self.fraction < self.config.labels_first:
            return terms
        with torch.no_grad():
            whole = self.teacher.learner(batch).logits.float().softmax(-1)
        seen = field_of_view(batch["x"], self.config.least, self.config.most)
        part = self.learner(Batch({**batch, "x": batch["x"] * seen})).logits
        target = sharpen(whole, self.config.temperature)
        terms["teacher"] = cross_entropy(part, target).times(self.config.weight)
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the labels, all of them for the teacher."""
        return {"label": is_labelled(batch["label"]).sum(), "teacher": batch.size}


CLAIM = Claim(
    statement="A student that must find its place from a part, as its average does from the whole, finds it better.",
    arms={
        "partial_view": {"method": "partial_view", "batch_size": 128, "labelled_share": 0.5},
        "supervised": "supervised",
        "label_spreading": "label_spreading",
        "the whole alone": {
            "method": "partial_view",
            "least": 1.0,
            "most": 1.0,
            "batch_size": 128,
            "labelled_share": 0.5,
        },
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="partial_view",
    baseline="supervised",
    cheap="label_spreading",
    ablation="the whole alone",
    untaught="untaught",
    world="landmarks",
    smallest_effect=0.02,
    settings={"labels": 160, "test": 0.3, "steps": 250, "student": "mlp:64"},
    search={
        "partial_view": {"weight": (0.3, 1.0), "lr": (0.003, 0.01)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(900, 901, 902, 903, 904, 905, 906, 907, 908, 909),
    shows="Whole panoramas that teach parts of them, with ten labelled ones of each place.",
    omits="Aerial images, maps of similarities, directions, and deep features.",
    systems=("geodistill",),
)
