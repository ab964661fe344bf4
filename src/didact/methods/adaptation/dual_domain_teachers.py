"""Focus on Your Target: A Dual Teacher-Student Framework for Domain-adaptive Semantic Segmentation (Huo et al. 2023).

A net that learns labels of one domain and its own answers in another cannot do both equally well: more rows of the
other domain make it adapt better and learn worse. Therefore two pairs of a student and its moving average learn from
the same rows, each with another share of the target domain in its loss. Each student learns, on strong views, the
confident answers of its own average to weak views, and those of the other pair's. The average of the pair with the
larger share of the target is delivered.

Departures: classes of whole rows, where the paper has pixels, and shares of the loss where it pastes parts of target
images into source images. A threshold admits each answer by itself; the paper, with DAFormer, weighs all pixels by
the share of sure ones. How much a student learns from the other pair is fixed, and both domains are half of a batch.

Compared with no code, as none is public; the paper's text could be read in part: the two pairs, their shares and the
learning in both directions are its own, the rest is inferred.

Formula: `tests/methods/test_dual_domain_teachers.py::test_each_pair_learns_from_both_averages`.

On `digits:corrupted`, it is undecided against a tuned "one pair" (+0.2 points, -0.2 to +0.6), and better than
`supervised` by 6.5 (2.4 to 10.6); dual_domain_teachers and one pair are nearly the same runs: their figures correlate
at 0.994.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.labels.gates import admitted_share, fixed_gate, pseudo_labels
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.teachers import EmaTeacher
from didact.types import Batch, ExampleFeed, Learner, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `dual_domain_teachers`."""

    more_target: float = 0.75  # share of the target domain in the loss of the first pair, which is delivered
    less_target: float = 0.5  # that in the loss of the second pair
    exchange: float = 0.5  # share of the other pair's answers in what a student learns of the target; 0 for none
    threshold: float = 0.9  # least confidence of an answer that is learned
    ema_decay: float = 0.99  # decay of both averages

    def __post_init__(self) -> None:
        check_range("more_target", self.more_target, at_least=0.0, at_most=1.0)
        check_range("less_target", self.less_target, at_least=0.0, at_most=1.0)
        check_range("exchange", self.exchange, at_least=0.0, at_most=1.0)
        check_range("threshold", self.threshold, at_least=0.0, at_most=1.0)
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)


class DualDomainTeachers(Method):
    """Learn the labels of one domain and the answers of two averages in another.

    Args:
        config: the options.
        learner: the student whose average is delivered.
        spawn: makes the second student, with fresh weights.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.5, views={"weak": "weak", "strong": "strong"})

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module]) -> None:
        self.config, self.learner = config, learner
        self.other = spawn("")
        self.averages = [EmaTeacher(student, decay=config.ema_decay) for student in (learner, self.other)]

    @property
    def delivered(self) -> Learner:
        """The average of the first student."""
        return self.averages[0].learner

    def loss(self, batch: Batch) -> Terms:
        """For each pair `label` over the labelled rows, `own` and `crossed` over the others; `admitted`."""
        config, known = self.config, is_labelled(batch["label"])
        unlabelled = (~known).float()
        shown, weak = batch.either(known, "weak", "strong"), batch.view("weak")
        answers = [self.answers(weak, place) for place in (0, 1)]
        terms = Terms()
        for place, (student, share) in enumerate(
            ((self.learner, config.more_target), (self.other, config.less_target))
        ):
            logits = student(shown).logits
            label = label_loss(logits, batch["label"], weight=batch.label_weight)
            terms[f"label_{place}"] = label.times(1.0 - share)
            for name, (said, gate), part in (
                ("own", answers[place], 1.0 - config.exchange),
                ("crossed", answers[1 - place], config.exchange),
            ):
                pseudo = cross_entropy(logits, said, trust=unlabelled, weight=gate)
                terms[f"{name}_{place}"] = pseudo.times(share * part)
        terms["admitted"] = admitted_share(answers[0][1], unlabelled)
        return terms

    @torch.no_grad()
    def answers(self, batch: Batch, place: int) -> tuple[Tensor, Tensor]:
        """The classes that an average answers, int64 [B], and whether they are learned, float [B]."""
        confidence, said = pseudo_labels(self.averages[place].learner(batch).logits)
        return said, fixed_gate(confidence, self.config.threshold)

    def own_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the first pair teaches itself of a batch: classes, int64 [B], and their weights, float [B]."""
        return self.answers(batch, 0)

    def after_step(self) -> None:
        """Update both averages."""
        for average, student in zip(self.averages, (self.learner, self.other), strict=True):
            average.update(student)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled rows for the labels, the others for the answers."""
        known = is_labelled(batch["label"]).sum()
        pseudo = dict.fromkeys(("own_0", "crossed_0", "own_1", "crossed_1", "admitted"), batch.size - known)
        return {"label_0": known, "label_1": known, **pseudo}


CLAIM = Claim(
    statement="A net adapts better if it also learns the answers of a pair that looks at the source domain more.",
    arms={
        "dual_domain_teachers": "dual_domain_teachers",
        "one pair": {"method": "dual_domain_teachers", "exchange": 0.0},
        "supervised": {"method": "supervised", "augment": "weak", "lr": 0.01},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="dual_domain_teachers",
    baseline="one pair",
    cheap="supervised",
    ablation="one pair",
    untaught="untaught",
    world="digits:corrupted",
    smallest_effect=0.02,
    settings={"steps": 120, "student": "mlp:128,64"},
    search={
        "dual_domain_teachers": {"more_target": (0.5, 0.75), "lr": (0.003, 0.01)},
        "one pair": {"more_target": (0.5, 0.75), "lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411),
    shows="Two shares of the target domain in the loss, and answers in both directions; one pair has a tuned share.",
    omits="Pixels, images pasted into others, deep nets, and long training; a step of two pairs costs twice as much.",
    systems=("focus-on-your-target",),
)
