"""Contrastive Learning with Adversarial Perturbations, CLAPS (Lee, Lee & Hwang 2021).

Beside its labels, the student learns to tell the hidden numbers of its own input, seen in another view, from those of
the other inputs of the batch. Two perturbations make that hard. A small step that raises the label's loss makes a wrong
target near the right one. A large step that raises the contrast, and one back that keeps the student's answer, make a
target that is right but far. `pairs=batch` contrasts the batch alone.

Departures: a class in place of a sentence, whose hidden numbers are one vector in place of one a token; a weak view of
the input is the source, where the authors have the encoder's states of another sentence; examples of one class are each
other's negatives, as other targets are there.

Compared with nmt/models.py and nmt/trainer.py of seanie12/CLAPS: the steps, the projection, both cross-entropies, their
mean and weight, and the temperature of 0.1 agree:
`tests/methods/test_adversarial_pairs.py::test_pairs_are_made_and_contrasted_as_in_the_authors_code`.

On `characters` with 520 labels, it is worse than a tuned `supervised` by 4.4 points (2.3 to 6.5), better than
`label_spreading` by 10.5 (8.0 to 13.0), and undecided against itself without its mechanism ("batch alone") (+2.8, -0.1
to +5.7). Training takes 2.8 times the operations of the baseline.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_choice, check_range
from didact.learners import HIDDEN, ModuleLearner, projector
from didact.losses.attacks import attack
from didact.losses.classes.divergence import forward_kl
from didact.losses.labels.supervised import label_loss
from didact.losses.pairs.hard_pairs import hard_pair_contrast, pair_contrast
from didact.types import Batch, ExampleFeed, Method, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `adversarial_pairs`."""

    pairs: Literal["hard", "batch"] = "hard"  # what is contrasted: perturbed targets too, or the batch alone
    weight: float = 1.0  # of the contrast
    temperature: float = 0.1  # of its cosines
    near: float = 3.0  # length of the step that makes a near wrong target
    far: float = 3.0  # length of each of the two steps that make a far right target

    def __post_init__(self) -> None:
        check_choice("pairs", self.pairs, ("hard", "batch"))
        check_range("temperature", self.temperature, above=0.0)
        for name in ("weight", "near", "far"):
            check_range(name, getattr(self, name), at_least=0.0)


class AdversarialPairs(Method):
    """Learns labels, and to tell hidden numbers from perturbed ones.

    Args:
        config: the options.
        learner: the student, whose last layer is linear.
        seed: of the projection.

    Raises:
        ConfigError: the student has no linear head.
    """

    feed = ExampleFeed(
        views={"source": "weak"}, least_batch=2, coupled=True, alone="each batch is contrasted with itself"
    )

    def __init__(self, config: Config, learner: ModuleLearner, seed: int = 0) -> None:
        if learner.head is None:
            raise ConfigError("The student has no linear head, before which it is perturbed; take mlp:64 or cnn:16.")
        learner.tap(HIDDEN)
        width = (learner.head.in_features,)
        self.config, self.learner = config, learner
        self.projection = nn.Sequential(projector(width, width, seed=seed), nn.ReLU())

    def loss(self, batch: Batch) -> Terms:
        """`label`, and the `contrast` of sources and targets."""
        config, output = self.config, self.learner(batch)
        source, target = self.learner(batch.view("source")).features[HIDDEN], output.features[HIDDEN]
        if config.pairs == "batch":
            pairs = (self.projection(one) for one in (source, target))
            contrast = pair_contrast(*pairs, temperature=config.temperature)
        else:
            moved = self.perturbed(source.detach(), target.detach(), output.logits.detach(), batch["label"])
            pairs = (self.projection(one) for one in (source, target, *moved))
            contrast = hard_pair_contrast(*pairs, temperature=config.temperature)
        label = label_loss(output.logits, batch["label"], weight=batch.label_weight)
        return Terms(label=label, contrast=contrast.times(config.weight))

    def perturbed(self, source: Tensor, target: Tensor, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Wrong targets near the right ones, and right ones far from them, each float [B, D].

        Args:
            source: hidden numbers of the other view, float [B, D].
            target: those of the input, float [B, D].
            logits: the student's answers to it, float [B, C].
            label: int64 [B].
        """
        config, head = self.config, self.learner.head
        assert head is not None
        before = logits.log_softmax(-1)

        def step(x: Tensor, length: float, kind: str) -> Tensor:
            def loss(moved: Tensor) -> Tensor:
                if kind == "wrong":
                    return label_loss(head(moved), label).sum
                if kind == "same":
                    return -forward_kl(head(moved), before).sum
                apart = (self.projection(one) for one in (source, moved))
                return pair_contrast(*apart, temperature=config.temperature).sum

            return attack(x, loss, radius=length, step=length, steps=1, norm="l2", start=False)

        return step(target, config.near, "wrong"), step(step(target, config.far, "apart"), config.far, "same")


CLAIM = Claim(
    statement="A net that tells its inputs from adversarial ones learns more from few labels than without.",
    arms={
        "adversarial_pairs": "adversarial_pairs",
        "supervised": {"method": "supervised", "augment": "weak"},
        "label_spreading": "label_spreading",
        "batch alone": {"method": "adversarial_pairs", "pairs": "batch"},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="adversarial_pairs",
    baseline="supervised",
    cheap="label_spreading",
    ablation="batch alone",
    untaught="untaught",
    world="characters",
    smallest_effect=0.01,
    settings={"labels": 520, "test": 0.3, "steps": 200, "student": "mlp:128,64", "lr": 0.01, "schedule": "constant"},
    search={
        "adversarial_pairs": {"near": (1.0, 3.0)},
        "supervised": {"augment": ("weak", "strong")},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(700, 701, 702, 703, 704, 705, 706, 707, 708, 709, 710, 711),
    shows="Near wrong and far right hidden numbers before the head of a small net, with twenty labels a letter.",
    omits="Sentences and their generation, pretrained transformers, and exposure to a model's own mistakes.",
    systems=("contrastive-learning-with-adversarial-perturbati",),
)
