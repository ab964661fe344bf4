"""A Layered Self-Supervised Knowledge Distillation Framework for Efficient Multimodal Learning on the Edge (2025).

Each stage of the net has an auxiliary classifier that predicts the class and the rotation of a rotated input jointly.
All of them learn from these joint labels. Each also distils the next deeper one, and the net's own prediction distils
the deepest one's class probabilities, aggregated over all rotations. There is no teacher; the auxiliary classifiers are
dropped at the end.

Departures: the authors' formulas could not be read; each stage is distilled into the one before it, by KL at one
temperature, and the last target is the aggregation of Lee et al. (2020). The auxiliary classifiers are linear, on the
mean over positions. Inputs that are not square images are rolled along their last axis instead of rotated.

Compared with no code: none of the authors' is public. The joint labels and the aggregation are compared in
`label_augmentation`.

Formula: `tests/methods/test_layered_self_supervised.py::test_the_loss_and_its_gradient_in_torch`.

On `characters` with 520 labels, it is better than a tuned `supervised` by 3.1 points (2.5 to 3.7), worse than "slight
augmentation" by 4.3 (3.2 to 5.5), and worse than itself without its mechanism ("joint labels alone") by 0.9 (0.5 to
1.2). Training takes 7.2 times the operations of the baseline.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import AuxiliaryHead, ModuleLearner, pool_features, stage_names
from didact.losses.classes.divergence import forward_kl
from didact.losses.labels.joint import joint_class_log_probs, joint_labels
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.losses.labels.targets import distillation_loss
from didact.sources import TURNS, rotations
from didact.types import Batch, Logits, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `layered_self_supervised`."""

    taps: tuple[str, ...] = ()  # the stages, shallow to deep, by module name; by default the net's parts
    auxiliary: float = 0.3  # weight of the joint labels, over all auxiliary classifiers
    weight: float = 0.3  # weight of distillation from deeper stages, over all stages and the net's own prediction
    temperature: float = 3.0  # softens the probabilities of both in that distillation

    def __post_init__(self) -> None:
        check_range("auxiliary", self.auxiliary, above=0.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class LayeredSelfSupervised(Method):
    """Train the stages of a net to predict class and rotation, and distil deeper stages into earlier ones.

    Args:
        config: the options.
        learner: the student, with taps.
        sample: a few examples, to find the shapes of the stages.
        seed: of the auxiliary classifiers' initial weights.
    """

    def __init__(self, config: Config, learner: ModuleLearner, sample: Batch, seed: int = 0) -> None:
        if "x" not in sample:
            raise ConfigError(
                "The data are text, but layered_self_supervised rotates its inputs, which text does not allow; choose "
                "another method, such as mutual_learning."
            )
        self.config, self.learner = config, learner
        self.taps = config.taps or stage_names(learner)
        learner.tap(*self.taps)
        output = learner(self.rotate(sample))
        outputs = output.logits.shape[-1] * TURNS
        widths = [pool_features(output.features[tap]).shape[-1] for tap in self.taps]
        self.heads = nn.ModuleList(AuxiliaryHead(width, outputs, seed=seed + i) for i, width in enumerate(widths))

    def rotate(self, batch: Batch) -> Batch:
        """The batch under each rotation, one after the other."""
        return Batch({"x": rotations(batch["x"]), "id": batch["id"].repeat(TURNS)})

    def loss(self, batch: Batch) -> Terms:
        """`label`; `joint_i` for each stage; `deeper_i` for each but the deepest; `own` from the deepest."""
        config, stages = self.config, len(self.heads)
        output = self.learner(self.rotate(batch))
        logits = output.logits[: batch.size]
        joint = [head(output.features[tap]) for tap, head in zip(self.taps, self.heads, strict=True)]
        labels, share = joint_labels(batch["label"], TURNS), config.auxiliary / stages
        terms = Terms(label=label_loss(logits, batch["label"], weight=batch.label_weight))
        for i, mine in enumerate(joint):
            terms[f"joint_{i}"] = cross_entropy(mine, labels).times(share)
        for i, (mine, deeper) in enumerate(itertools.pairwise(joint)):
            signal = Logits(logits=deeper.detach())
            terms[f"deeper_{i}"] = distillation_loss(mine, signal, temperature=config.temperature).times(
                config.weight / stages
            )
        with torch.no_grad():
            target = joint_class_log_probs(joint[-1], TURNS, temperature=config.temperature)
        own = forward_kl(logits, target, temperature=config.temperature)
        return Terms(**terms, own=own.times(config.weight / stages))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Examples, or labels; each under every rotation for the auxiliary classifiers."""
        labelled = is_labelled(batch["label"]).sum()
        joint = {f"joint_{i}": labelled * TURNS for i in range(len(self.heads))}
        deeper = {f"deeper_{i}": batch.size * TURNS for i in range(len(self.heads) - 1)}
        return {"label": labelled, **joint, **deeper, "own": batch.size}


CLAIM = Claim(
    statement="A net whose stages learn class and turn, and teach each other, beats one that learns from labels alone.",
    arms={
        "layered_self_supervised": "layered_self_supervised",
        "supervised": "supervised",
        "slight augmentation": {"method": "supervised", "augment": "weak"},
        "joint labels alone": {"method": "layered_self_supervised", "weight": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="layered_self_supervised",
    baseline="supervised",
    cheap="slight augmentation",
    ablation="joint labels alone",
    untaught="untaught",
    world="characters",
    smallest_effect=0.01,
    settings={"labels": 520, "test": 0.3, "steps": 300, "student": "mlp:64,64"},
    search={
        "layered_self_supervised": {"auxiliary": (0.3, 1.0), "lr": (0.003, 0.01)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
        "slight augmentation": {"lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="Auxiliary classifiers at the layers of a small net, with twenty labels for each letter and no other images.",
    omits="Deep nets with many stages, and objects. Forward passes cost four times as much.",
    systems=("a-layered-self-supervised-knowledge-distillation",),
)
