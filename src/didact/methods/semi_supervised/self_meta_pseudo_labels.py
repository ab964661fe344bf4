"""Self Meta Pseudo Labels (Ng & Wang 2022), and Meta Pseudo Labels (Pham, Dai, Xie & Le 2021).

One net gives hard pseudo-labels under weak augmentation. It takes a step towards them on trial, under strong
augmentation, and the fall of its loss on the labelled examples is the feedback: the weight with which the step is taken
in truth, beside the loss on labels and the consistency of the two views (UDA). A step that raises that loss is taken
backwards. With `labeller=other` a second net labels and gets the feedback, and teaches the student alone: the latter.

Departures: the trial step is one of plain gradient descent of a length of its own; the running mean of the feedback,
which is subtracted, begins at 0; no label smoothing, and no fine-tuning of the student on labels. How the first paper
puts its losses together is inferred from its abstract. The weight of 8 did badly in short runs; the claim's is 1.

Compared with main.py of kekmodel/MPL-pytorch (no code of the authors of the first was found): the terms, the
temperature, the threshold, the weight of 8 and the running mean with 0.99 agree. Its feedback has the other sign, and
has no effect, as the teacher's logits are detached; the sign here is the paper's. Formula:
`tests/methods/test_looking_ahead.py::test_the_feedback_is_the_fall_of_the_labelled_loss`.

On `digits` with 40 labels, it is equivalent to a tuned "meta_pseudo_labels" (+0.2 points, -1.2 to +1.2), better than
`supervised` by 7.5 (5.7 to 9.3), and equivalent to itself without its mechanism ("no feedback") (-0.1, -0.6 to +0.4).
Training takes 0.7 times the operations of the baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import check_choice, check_range
from didact.learners import functional_forward, step_ahead, trained_weights
from didact.losses.labels.gates import fixed_gate
from didact.losses.labels.supervised import cross_entropy
from didact.types import Batch, Buffer, ExampleFeed, Learner, Method, Term, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `self_meta_pseudo_labels`."""

    labeller: Literal["own", "other"] = "own"  # other: a second net gives the pseudo-labels (Meta Pseudo Labels)
    rate: float = 0.01  # length of the trial step; with 0 there is no feedback
    temperature: float = 0.7  # of the probabilities under weak augmentation in the consistency term
    threshold: float = 0.6  # least probability of the likeliest class for an example to count in that term
    weight: float = 8.0  # final weight of that term
    ramp_up: float = 0.02  # share of the budget over which that weight rises
    memory: float = 0.99  # decay of the feedback's running mean

    def __post_init__(self) -> None:
        check_choice("labeller", self.labeller, ("own", "other"))
        check_range("rate", self.rate, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)
        check_range("threshold", self.threshold, at_least=0.0, at_most=1.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("ramp_up", self.ramp_up, at_least=0.0, at_most=1.0)
        check_range("memory", self.memory, at_least=0.0, below=1.0)


class SelfMetaPseudoLabels(Method):
    """Weigh pseudo-labels by what a step towards them does to the loss on labels.

    Args:
        config: the options.
        learner: the student.
        spawn: makes the other net, with fresh weights.
    """

    feed = ExampleFeed(
        unlabelled=True,
        labelled_share=0.25,
        views={"weak": "weak", "strong": "strong"},
        coupled=True,
        alone="its trial step is that of the whole batch",
    )

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module]) -> None:
        self.config, self.learner = config, learner
        self.other = spawn("") if config.labeller == "other" else None
        self.usual = Buffer(torch.zeros(()))

    def loss(self, batch: Batch) -> Terms:
        """`label`, `consistency` and `feedback` of the net that gives pseudo-labels; `pseudo` of its student."""
        label, teacher = batch["label"], self.learner if self.other is None else self.other
        weak, strong = (teacher(batch.view(name)).logits for name in ("weak", "strong"))
        pseudo = weak.detach().argmax(-1)
        learned = strong if self.other is None else self.learner(batch.view("strong")).logits
        towards = cross_entropy(learned, pseudo)
        fall = self.fall(batch, towards.mean(), weak if self.other is None else None)
        self.usual.value = self.config.memory * self.usual.value + (1.0 - self.config.memory) * fall
        told = towards if self.other is None else cross_entropy(strong, pseudo)
        terms = Terms(
            label=cross_entropy(weak, label, weight=batch.label_weight),
            consistency=self.consistency(weak.detach(), strong),
            feedback=Term(told.sum * (fall - self.usual.value), told.count),
        )
        return terms if self.other is None else Terms(**terms, pseudo=towards)

    def fall(self, batch: Batch, towards: Tensor, weak: Tensor | None) -> Tensor:
        """By how much a trial step against `towards`, a scalar, lowers the student's loss on labels, a scalar.

        `weak` has its logits under weak augmentation, [B, C], where they are known.
        """
        shown, label = batch.view("weak"), batch["label"]
        ahead = step_ahead(trained_weights(self.learner), towards, rate=self.config.rate, retain_graph=True)
        with torch.no_grad():
            before = self.learner(shown).logits if weak is None else weak
            after = functional_forward(self.learner, ahead, shown).logits
            return cross_entropy(before, label).mean() - cross_entropy(after, label).mean()

    def consistency(self, weak: Tensor, strong: Tensor) -> Term:
        """Cross-entropy of the sharpened probabilities of the weak view, over all examples; 0 where they are unsure."""
        target = (weak.float() / self.config.temperature).softmax(-1)
        sure = fixed_gate(target.amax(-1), self.config.threshold)
        weight = self.config.weight * (min(1.0, self.fraction / self.config.ramp_up) if self.config.ramp_up else 1.0)
        return cross_entropy(strong, target, weight=sure).times(weight)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the labels, all of them for the other terms."""
        names = ("consistency", "feedback", *(() if self.other is None else ("pseudo",)))
        return {"label": is_labelled(batch["label"]).sum(), **dict.fromkeys(names, batch.size)}


CLAIM = Claim(
    statement="One net that weighs its own pseudo-labels is as accurate as with a second net as their teacher.",
    arms={
        "self_meta_pseudo_labels": {"method": "self_meta_pseudo_labels", "weight": 1.0, "ramp_up": 0.4},
        "meta_pseudo_labels": {"method": "self_meta_pseudo_labels", "labeller": "other", "weight": 1.0, "ramp_up": 0.4},
        "supervised": {"method": "supervised", "augment": "weak"},
        "no feedback": {"method": "self_meta_pseudo_labels", "rate": 0.0, "weight": 1.0, "ramp_up": 0.4},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="self_meta_pseudo_labels",
    baseline="meta_pseudo_labels",
    cheap="supervised",
    ablation="no feedback",
    untaught="untaught",
    world="digits",
    smallest_effect=0.02,
    settings={"labels": 40, "steps": 250, "student": "mlp:128", "lr": 0.01, "batch_size": 128, "labelled_share": 0.3},
    search={
        "self_meta_pseudo_labels": {"rate": (0.003, 0.01, 0.1)},
        "meta_pseudo_labels": {"rate": (0.003, 0.01, 0.1)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411),
    shows="The feedback of a trial step, by one net and by two, with a weight of 1 for the consistency of the views.",
    omits="Images of objects, and the fine-tuning on labels with which the second paper ends.",
    systems=("self-meta-pseudo-labels",),
)
