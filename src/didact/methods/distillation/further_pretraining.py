"""Self-Distillation for Further Pre-training of Transformers (Lee, Kang, Lee, Hwang & Kawaguchi 2023).

The given student is the initial model. First a copy of it is pre-trained without labels to reconstruct masked inputs,
and frozen as the teacher. Next the student is pre-trained in the same way, and also matches the teacher's
representation of the whole inputs by squared distance. Last, it is fine-tuned on the labels.

Departures: the three phases share one budget, optimizer and schedule; masked parts are replaced by the mean, where a
masked autoencoder leaves them out, and a linear layer on the representation reconstructs them; targets are standardised
over all examples, where the authors' are over each patch; text, in which the paper masks words, is refused.

Compared with trainer.py of seanie12/self-distillation: the distance (on unmasked inputs, summed over elements, a mean
over examples, of weight 1), the masked share of 0.75, and phases of equal length agree. Values and gradients:
`tests/methods/test_further_pretraining.py::test_the_distance_and_its_gradient_are_those_of_the_authors`.

On `characters` with 520 labels, it is worse than a tuned "plain" by 6.3 points (5.1 to 7.4), worse than "fine-tuning
alone" by 7.2 (5.8 to 8.6), and worse than itself without its mechanism ("far from the copy") by 4.5 (3.0 to 6.0).
Training takes 1.3 times the operations of the baseline.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import HIDDEN, ModuleLearner, Moments, projector, random_mask
from didact.losses.features.distances import feature_mse, masked_mse
from didact.losses.labels.supervised import label_loss
from didact.types import Batch, ExampleFeed, Method, Term, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `further_pretraining`."""

    teacher_share: float = 0.3  # share of the budget that pre-trains the teacher, a copy; 0 for no teacher
    student_share: float = 0.3  # share of the budget that pre-trains the student; the labels get the rest
    weight: float = 1.0  # weight of the squared distance from the teacher's representation
    hidden_share: float = 0.75  # share of an input that is masked
    patch: int = 2  # side in pixels of the masked squares of an image
    tap: str = HIDDEN  # the representation, by module name; "hidden" is the head's input

    def __post_init__(self) -> None:
        check_range("teacher_share", self.teacher_share, at_least=0.0, below=1.0)
        check_range("student_share", self.student_share, at_least=0.0, below=1.0)
        check_range("teacher_share + student_share", self.teacher_share + self.student_share, at_most=1.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("hidden_share", self.hidden_share, above=0.0, below=1.0)
        check_range("patch", self.patch, at_least=1)


class FurtherPretraining(Method):
    """Pre-train a copy, pre-train the student close to it, then fine-tune.

    Args:
        config: the options.
        learner: the initial model, with taps.
        sample: a few examples, to find the shapes of inputs and features.
        seed: of the reconstruction layers' initial weights.

    Raises:
        ConfigError: the inputs are text, or the tap is unknown.
    """

    feed = ExampleFeed(unlabelled=True, tasks=("classification", "regression"))

    def __init__(self, config: Config, learner: ModuleLearner, sample: Batch, seed: int = 0) -> None:
        if "x" not in sample:
            raise ConfigError("The inputs are text, which further_pretraining cannot mask; give it images or tables.")
        self.config, self.learner = config, learner
        learner.tap(config.tap)
        features, x = learner(sample).features[config.tap], sample["x"]
        sizes = (features[0].numel(),), (x[0].numel(),)
        self.moments = Moments(x)
        self.reconstruction = projector(*sizes, seed=seed)
        self.copy = copy.deepcopy(learner) if config.teacher_share else None
        self.copy_reconstruction = projector(*sizes, seed=seed) if config.teacher_share else None

    def loss(self, batch: Batch) -> Terms:
        """First `copy`; then `student` and `teacher`; these over all examples; then `label`."""
        config = self.config
        if self.fraction >= config.teacher_share + config.student_share:
            return Terms(label=label_loss(self.learner(batch).logits, batch["label"], weight=batch.label_weight))
        self.moments.accumulate(batch["x"], self.place)
        if self.fraction < config.teacher_share and self.copy is not None and self.copy_reconstruction is not None:
            return Terms(copy=self.reconstruction_loss(self.copy.train(), self.copy_reconstruction, batch))
        terms = Terms(student=self.reconstruction_loss(self.learner, self.reconstruction, batch))
        if self.copy is not None:
            with torch.no_grad():
                theirs = self.copy.eval()(batch).features[config.tap]
            mine = self.learner(batch).features[config.tap]
            # Of the squared difference's mean over the elements, their sum.
            terms["teacher"] = feature_mse(mine, theirs).times(config.weight * mine[0].numel())
        return terms

    def reconstruction_loss(self, learner: nn.Module, reconstruction: nn.Module, batch: Batch) -> Term:
        """The squared error of a net's reconstruction, in standard deviations of the inputs."""
        x = batch["x"]
        hidden = random_mask(x, self.config.hidden_share, patch=self.config.patch)
        mean = self.moments.mean.view(-1, 1, 1) if x.ndim == 4 else self.moments.mean
        seen = Batch({**batch, "x": torch.where(hidden, mean, x)})
        features = learner(seen).features[self.config.tap]
        return masked_mse(reconstruction(features.flatten(1)).view_as(x), self.moments(x), hidden)

    def after_step(self) -> None:
        """Update the means and standard deviations of the inputs during pre-training."""
        if self.fraction < self.config.teacher_share + self.config.student_share:
            self.moments.update()

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the pre-training terms, the labelled ones for the labels."""
        return {**dict.fromkeys(("copy", "student", "teacher"), batch.size), "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="Further pre-training near a further pre-trained copy is better than plain further pre-training.",
    arms={
        "further_pretraining": {"method": "further_pretraining", "labelled_share": 0.5},
        "plain": {"method": "further_pretraining", "labelled_share": 0.5, "teacher_share": 0.0, "student_share": 0.6},
        "fine-tuning alone": "supervised",
        "far from the copy": {"method": "further_pretraining", "labelled_share": 0.5, "weight": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="further_pretraining",
    baseline="plain",
    cheap="fine-tuning alone",
    ablation="far from the copy",
    untaught="untaught",
    world="characters",
    smallest_effect=0.01,
    settings={"labels": 520, "test": 0.3, "steps": 200, "student": "mlp:64,64", "schedule": "constant"},
    search={
        "further_pretraining": {"hidden_share": (0.5, 0.75), "lr": (0.003, 0.01)},
        "plain": {"hidden_share": (0.5, 0.75), "lr": (0.003, 0.01)},
        "fine-tuning alone": {"lr": (0.003, 0.01)},
    },
    equal="last_stage",
    stages={
        "further_pretraining": ("teacher_share", "student_share"),
        "plain": ("student_share",),
        "far from the copy": ("teacher_share", "student_share"),
    },
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="Self-distillation against plain further pre-training and none, before fine-tuning of the same length.",
    omits="An initial model that was pre-trained on other data: here its weights are fresh. Transformers.",
    systems=("self-distillation-for-further-pre-training-of-tr",),
)
