"""FitNets: Hints for Thin Deep Nets (Romero et al. 2015).

In the first stage the student's guided layer, followed by a regressor, learns to predict a layer of the teacher (the
hint). In the second stage the whole student is distilled.

Departures: both stages share one optimizer and one schedule, with `hint_share` of the budget for the first; the hint
loss is averaged over the features' elements, not summed; the teacher's weight stays `alpha` in the second stage, where
the paper lets it decrease. By default the guided layer and the hint are the inputs of the heads, where the paper takes
middle layers.

The claim came out the other way on digits, perhaps because a shallow student is easy to train, so the steps spent on
hints are missing for distillation. A deep, thin student (six layers of 16, the paper's case), tried on five other
seeds, did much worse than by distillation with hints for its last layer, and no better with a middle one.
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.learners import TapConfig, projector
from didact.losses.features.distances import feature_mse
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import SoftTargetConfig, distillation_loss
from didact.types import Batch, ExampleFeed, Features, Learner, Method, Teacher, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config(TapConfig, SoftTargetConfig):
    """Options of `fitnet`."""

    hint_share: float = 0.3  # share of the budget for the first stage

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("hint_share", self.hint_share, at_least=0.0, below=1.0)


class FitNet(Method):
    """Fit a hint layer, then distil.

    Args:
        config: the options.
        learner: the student, with taps.
        teacher: a teacher with features.
        sample: a few examples, to find the shapes of the features.
        seed: of the regressor's initial weights.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, teacher: Teacher, sample: Batch, seed: int = 0) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher
        learner.tap(config.student_tap)
        teacher.tap(config.teacher_tap)
        guided = learner(sample).features[config.student_tap]
        self.regressor = projector(
            guided.shape[1:], self.signal(sample).features[config.teacher_tap].shape[1:], seed=seed
        )

    def signal(self, batch: Batch) -> Features:
        """The teacher's features and logits."""
        signal = self.teacher.signal(batch)
        assert isinstance(signal, Features)
        return signal

    def loss(self, batch: Batch) -> Terms:
        """First `hint`; then `teacher` and `label`, as in `distill`."""
        config = self.config
        signal, output = self.signal(batch), self.learner(batch)
        if self.fraction < config.hint_share:
            guided = self.regressor(output.features[config.student_tap])
            return Terms(hint=feature_mse(guided, signal.features[config.teacher_tap], trust=signal.trust))
        return Terms(
            teacher=distillation_loss(output.logits, signal, temperature=config.temperature).times(config.alpha),
            label=label_loss(output.logits, batch["label"], weight=batch.label_weight).times(1.0 - config.alpha),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher, the labelled ones for the labels."""
        return {"hint": batch.size, "teacher": batch.size, "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A student that first fits a hint layer of its teacher ends up more accurate than by distillation alone.",
    arms={
        "fitnet": "fitnet",
        "distill": "distill",
        "supervised": "supervised",
        "every answer wrong": {"method": "fitnet", "teacher": "noisy:1.0:mlp:256,256"},
        "random teacher": {"method": "distill", "teacher": "random"},
        "label_spreading": "label_spreading",
    },
    method="fitnet",
    baseline="distill",
    cheap="label_spreading",
    settings={"labels": 100, "steps": 1000, "student": "mlp:32", "teacher": "mlp:256,256"},
    equal="steps",
    shows="A stage on hints out of the same budget, against spending all of it on the teacher's probabilities.",
    omits="The student is small and shallow, where the paper's is thinner and deeper than its teacher.",
)
