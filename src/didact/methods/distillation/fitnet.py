"""FitNets: Hints for Thin Deep Nets (Romero et al. 2015).

In the first stage the student's guided layer, followed by a regressor, learns to predict a layer of the teacher (the
hint). In the second stage the whole student is distilled.

Departures: both stages share one optimizer and one schedule, with `hint_share` of the budget for the first; the hint
loss is averaged over the features' elements, not summed; the teacher's weight stays `alpha` in the second stage, where
the paper lets it decrease. By default the guided layer and the hint are the inputs of the heads, where the paper takes
middle layers.

Compared with costs/ of adri-romsor/FitNets: its hint loss is half of the squared distance, summed over the features,
and its cross-entropy with the teacher is not multiplied by the squared temperature. Values:
`tests/losses/test_losses.py::test_feature_losses`.

On `mnist1d` with 300 labels, it is better than a tuned `distill` by 1.0 points (0.3 to 1.8), better than `supervised`
by 26.9 (25.7 to 28.2), and better than itself without its mechanism ("no hints") by 1.5 (0.8 to 2.2). Training takes
1.5 times the operations of the baseline.
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
    statement="A student that first fits a hint layer of its teacher ends more accurate than by distillation alone.",
    arms={
        "fitnet": "fitnet",
        "distill": "distill",
        "supervised": "supervised",
        "no hints": {"method": "fitnet", "hint_share": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="fitnet",
    baseline="distill",
    cheap="supervised",
    ablation="no hints",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"labels": 300, "test": 0.4, "steps": 400, "student": "mlp:64", "teacher": "cnn1d:16,32,16"},
    search={
        "fitnet": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="last_stage",
    stages={"fitnet": ("hint_share",)},
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="A stage on hints before as long a stage of distillation as that of the others.",
    omits="Images, many classes and deep nets. Students that are thinner and deeper than their teacher.",
)
