"""From Knowledge Distillation to Self-Knowledge Distillation (Yang, Zeng, Yuan & Li 2023), without a teacher: USKD.

The student makes its own soft labels. The soft label of the target is the square of the student's probability, shifted
to a mean of 1 over the batch. Those of the other classes follow Zipf's law over their ranks, which come from the
combined predictions of the student and of a weak head on its features.

Departures: the weak head reads the input of the student's own head, unless another tap is named, where the paper takes
the second to last stage; the ranks cover the other classes alone and come from probabilities, where the published code
ranks the target too and adds logarithms to probabilities; the loss of the other classes is the divergence instead of
the cross-entropy, whose gradient is the same. Examples without a label are left out.

Compared with mmcls/distillation/losses/uskd.py of yzd-v/cls_KD: the label of the target and the weak head's loss agree;
the other classes differ as said. The defaults are those of its configuration for CIFAR-100 (ResNet-18); that for
ImageNet has an alpha of 1 and a weak weight of 0.005. Values:
`tests/methods/test_normalized_kd.py::test_uskd_softens_its_own_labels`.

On `mnist1d`, it is equivalent to a tuned `supervised` (0.0 points, -0.3 to +0.4), worse than "label smoothing" by 0.7
(0.4 to 1.1), and equivalent to itself without its mechanism ("no soft labels") (+0.1, -0.2 to +0.4). Training takes 1.3
times the operations of the baseline.
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import HIDDEN, projector
from didact.losses.classes.decoupled import decoupled_kd
from didact.losses.classes.normalised import non_target_probs, smoothed_target, weighted_nll, zipf_log_probs
from didact.losses.labels.supervised import cross_entropy
from didact.types import Batch, ExampleFeed, Learner, Method, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `uskd`."""

    tap: str = HIDDEN  # the weak head's input, by module name; "hidden" is the input of the student's head
    alpha: float = 0.1  # weight of the soft label of the target
    beta: float = 0.1  # weight of the soft labels of the other classes
    weak_weight: float = 0.1  # weight of the weak head's label loss
    weak_smoothing: float = 0.1  # share of each label's probability that is spread over all classes in that loss

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, at_least=0.0)
        check_range("beta", self.beta, at_least=0.0)
        check_range("weak_weight", self.weak_weight, above=0.0)
        check_range("weak_smoothing", self.weak_smoothing, at_least=0.0, below=1.0)


class USKD(Method):
    """Learn from labels, and from soft labels that the student makes itself.

    Args:
        config: the options.
        learner: the student, with taps.
        sample: a few examples, to find the shapes of the features.
        seed: of the weak head's initial weights.
    """

    feed = ExampleFeed(coupled=True)

    def __init__(self, config: Config, learner: Learner, sample: Batch, seed: int = 0) -> None:
        self.config = config
        self.learner = learner
        learner.tap(config.tap)
        output = learner(sample)
        classes = output.logits.shape[-1]
        if classes < 3:
            raise ConfigError(
                f"The data have {classes} classes, but uskd ranks those other than the target; it needs 3."
            )
        self.weak_head = projector(self.pool_features(output.features[config.tap]).shape[1:], (classes,), seed=seed)

    def pool_features(self, features: Tensor) -> Tensor:
        """Features [B, D]: maps [B, D, H, W] are averaged over positions, tokens [B, T, D] over tokens."""
        if features.ndim == 4:
            return features.mean((2, 3))
        return features.mean(1) if features.ndim == 3 else features

    def loss(self, batch: Batch) -> Terms:
        """`label`, `target`, `others` and `weak`, over the examples that have a label."""
        config, label = self.config, batch["label"]
        output = self.learner(batch)
        logits = output.logits
        weak = self.weak_head(self.pool_features(output.features[config.tap]))
        order = non_target_probs(weak, label) + non_target_probs(logits, label)
        _, others = decoupled_kd(logits, zipf_log_probs(order, label), label)
        every, labels = self.place.gather(logits), self.place.gather(label)
        return Terms(
            label=cross_entropy(logits, label, weight=batch.label_weight),
            target=weighted_nll(every, labels, smoothed_target(every, labels)).times(config.alpha),
            others=others.times(config.beta),
            weak=cross_entropy(weak, label, label_smoothing=config.weak_smoothing).times(config.weak_weight),
        )


CLAIM = Claim(
    statement="A student that also learns from soft labels of its own is more accurate than on the labels alone.",
    arms={
        "uskd": "uskd",
        "supervised": "supervised",
        "label smoothing": {"method": "supervised", "label_smoothing": 0.1},
        "no soft labels": {"method": "uskd", "alpha": 0.0, "beta": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="uskd",
    baseline="supervised",
    cheap="label smoothing",
    ablation="no soft labels",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"test": 0.4, "steps": 400, "student": "mlp:64"},
    search={
        "uskd": {"alpha": (0.1, 1.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
        "label smoothing": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="What soft labels that the student makes itself add to 2,500 hard ones.",
    omits="Deep nets on images; the features of the last stage but one, as a net of one hidden layer has one stage.",
    systems=("from-knowledge-distillation-to-self-knowledge-di",),
)
