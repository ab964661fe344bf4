"""SeFAR: semi-supervised learning of series whose segments are reordered (Huang, Chen, Xu, Jia, Sun & Shao 2025).

The average of the student's weights labels a weak view, several times under dropout. The student learns the label on a
strong view in which parts of the series pass backwards, with a weight that is higher the surer the label is, and the
less its probability varies. These labels come in after a start with the given ones alone. The average is delivered.

Departures: series in the place of films, of which a random half of the segments is turned around, where theirs are two
samples of two frames beside one of four that stays; dropout comes before the head alone; their second loss, on mixed
films, is left out; the average's decay rises as min(decay, (1 + n) / (10 + n)) over steps n.

Compared with tools/train_net_emamix.py and configs/TimeSformer_base_ssl.yaml of KyleHuang9/SeFAR: the weight, ten
answers under dropout, the mean over all unlabelled examples, the sine with which that loss rises from a sixth of the
run on and its factor of 2 agree. Values and gradients:
`tests/methods/test_reordered_segments.py::test_the_loss_is_that_of_the_authors`.

On `emissions:motion` with 120 labels, it is equivalent to a tuned `fixmatch` (-0.3 points, -1.0 to +0.4), undecided
against `supervised` (+0.9, -2.0 to +3.7), and better than itself without its mechanism ("in order") by 14.2 (9.7 to
18.7).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import ModuleLearner, dropped_scores
from didact.losses.labels.gates import steady_gate
from didact.losses.labels.pseudo import pseudo_label_counts, pseudo_label_terms
from didact.sources.augment_series import reorder
from didact.teachers import AveragingMethod
from didact.types import Batch, ExampleFeed, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `reordered_segments`."""

    segments: int = 4  # equal parts of a series
    turned: float = 0.5  # share of them that pass backwards
    steady: bool = True  # whether labels are weighed; else all count in full
    passes: int = 10  # answers under dropout, of which the deviation is taken
    drop_rate: float = 0.5  # rate of that dropout
    weight: float = 2.0  # final weight of the average's labels
    start: float = 0.1667  # share of the budget before these come in
    ema_decay: float = 0.999  # decay of the average that labels and is delivered

    def __post_init__(self) -> None:
        check_range("segments", self.segments, at_least=1)
        check_range("turned", self.turned, at_least=0.0, at_most=1.0)
        check_range("passes", self.passes, at_least=2)
        check_range("drop_rate", self.drop_rate, above=0.0, below=1.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("start", self.start, at_least=0.0, below=1.0)
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)


class ReorderedSegments(AveragingMethod):
    """Learns its average's steady answers on views in which parts pass backwards.

    Args:
        config: the options.
        learner: the student, with a linear head.
        sample: a few examples, of series.

    Raises:
        ConfigError: the student has no linear head, or the inputs are no series as long as there are segments.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.25, views={"weak": "weak", "strong": "strong"})

    def __init__(self, config: Config, learner: ModuleLearner, sample: Batch) -> None:
        shape = list(sample["x"].shape[1:]) if "x" in sample else []
        if len(shape) != 2 or shape[1] < config.segments:
            raise ConfigError(
                f"segments is {config.segments}, but the inputs have the shape {shape}; reordered_segments needs "
                "series, [channels, steps], of as many steps or more."
            )
        if learner.head is None:
            raise ConfigError("The student has no linear head, before which reordered_segments drops features.")
        super().__init__(learner, config.ema_decay)
        self.config = config

    def loss(self, batch: Batch) -> Terms:
        """`label` over the labelled examples, `pseudo` over the others; `admitted`, the mean weight of these."""
        known, config = is_labelled(batch["label"]), self.config
        said, gate = self.own_labels(batch.view("weak"))
        shown = batch.either(known, "weak", "strong")
        x = torch.where(known[:, None, None], shown["x"], reorder(shown["x"], config.segments, config.turned))
        logits = self.learner(Batch({**shown, "x": x})).logits
        rise = math.sin(math.pi / 2 * max(0.0, self.fraction - config.start) / (1.0 - config.start))
        return pseudo_label_terms(logits, batch, said, gate, weight=rise * config.weight)

    @torch.no_grad()
    def own_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What it teaches itself of a batch: classes, int64 [B], and their weights, float [B]."""
        average = self.teacher.learner
        hidden = average(batch).hidden
        scores = dropped_scores(average.head, hidden, passes=self.config.passes, rate=self.config.drop_rate)
        confidence, said = scores.mean(0).max(-1)
        if not self.config.steady:
            return said, torch.ones_like(confidence)
        return said, steady_gate(confidence, scores.std(0).gather(1, said[:, None])[:, 0])

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the labels, the others for the pseudo-labels."""
        return pseudo_label_counts(batch)


CLAIM = Claim(
    statement="Segments that pass backwards and weights by steadiness help to learn motions from few labels.",
    arms={
        "reordered_segments": {"method": "reordered_segments", "start": 0.5},
        "fixmatch": "fixmatch",
        "supervised": {"method": "supervised", "augment": "weak"},
        "in order": {"method": "reordered_segments", "turned": 0.0, "steady": False, "start": 0.5},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="reordered_segments",
    baseline="fixmatch",
    cheap="supervised",
    ablation="in order",
    untaught="untaught",
    world="emissions:motion",
    smallest_effect=0.01,
    settings={"labels": 120, "test": 0.3, "steps": 200, "student": "cnn1d:16,32", "labelled_share": 0.25},
    search={
        "reordered_segments": {"lr": (0.003, 0.01, 0.03)},
        "fixmatch": {"lr": (0.003, 0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(1400, 1401, 1402, 1403, 1404, 1405, 1406, 1407, 1408, 1409, 1410, 1411),
    shows="Views with parts that pass backwards, and weights by the mean and the deviation of ten answers.",
    omits="Films, transformers, samples of several lengths, and the loss on mixed films.",
    systems=("sefar",),
)
