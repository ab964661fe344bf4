"""Random Teachers are Good Teachers (Sarnthein, Bachmann, Anagnostidis & Hofmann 2023).

A teacher of the student's own architecture is frozen with random weights, and the student is initialised near it.
Without labels it learns to match the teacher, by the KL divergence between the softmax of many outputs of a projection
head. Nevertheless its representation becomes better than the teacher's, as a linear probe shows: in the last phase the
body is frozen, and the head alone learns from the labels.

Departures: the probe is the last `probe_share` of the same budget, with the same optimizer, so that a classifier is
delivered; the projection head is small, with 2 layers before its outputs; biases and normalisations are interpolated
linearly. The paper's findings on sparse subnetworks and the loss landscape are not covered.

Compared with configuration.py, dinopl/core.py and configs/cifar10_distillation_v2.json of safelix/dinopl: the loss
(cross-entropy there, with the same gradient), both temperatures of 1 and the weights near the teacher agree; it divides
biases by the same factor, and its head has 2048, 2048, 256 and 65,536 units. Values and gradients:
`tests/methods/test_random_teachers.py::test_the_gradient_is_that_of_the_cross_entropy_of_the_authors`.

On `characters`, it is better than a tuned "random teacher" by 3.7 points (2.4 to 5.0), worse than `supervised` by 34.2
(31.8 to 36.5), and undecided against itself without its mechanism ("from the teacher itself") (-1.0, -2.2 to +0.2).
Training takes 2.6 times the operations of the baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import DinoHead, LinearProbe, init_near
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import distillation_loss
from didact.teachers import FrozenTeacher
from didact.types import Batch, ExampleFeed, Method, Output, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `random_teachers`."""

    distance: float = 0.1  # initial distance of the student from the teacher: 0 at it, 1 independent of it
    outputs: int = 256  # outputs of the projection head, on which student and teacher are compared
    width: int = 128  # width of the projection head's hidden layer
    bottleneck: int = 64  # width of the normalised bottleneck before its outputs
    probe_share: float = 0.5  # last share of the budget, which trains the head alone, on the labels

    def __post_init__(self) -> None:
        check_range("distance", self.distance, at_least=0.0, at_most=1.0)
        for name in ("outputs", "width", "bottleneck"):
            check_range(name, getattr(self, name), at_least=2)
        check_range("probe_share", self.probe_share, at_least=0.0, at_most=1.0)


class _Projected(nn.Module):
    """A learner whose output is a projection of its head's input."""

    def __init__(self, learner: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.learner, self.projection = learner, projection

    def forward(self, batch: Batch) -> Output:
        return Output(self.projection(self.learner(batch).hidden))


class RandomTeachers(Method):
    """Distil a frozen teacher of random weights into a student initialised near it, then fit the head.

    Args:
        config: the options.
        learner: the student, with a linear head (or ConfigError); its weights are moved towards the teacher's.
        spawn: makes the teacher, which is of the student's kind.
        sample: a few examples, to find the width of the representation.
        seed: of the projection heads' weights.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(
        self, config: Config, learner: nn.Module, spawn: Callable[[str], nn.Module], sample: Batch, seed: int = 0
    ) -> None:
        self.config, self.learner = config, learner
        output = learner(sample)
        hidden = output.hidden
        if hidden is None:
            raise ConfigError(
                "The student has no linear head with one vector [D] for each example before it, which random_teachers "
                "needs; take one whose last layer is linear, such as mlp:64,64 or cnn:16,32."
            )
        shape = {"hidden": config.width, "bottleneck": config.bottleneck, "outputs": config.outputs}
        self.projection = DinoHead(hidden.shape[-1], **shape, seed=seed)
        own, head = spawn(""), DinoHead(hidden.shape[-1], **shape, seed=seed + 1)
        init_near(learner, own, config.distance)
        init_near(self.projection, head, config.distance)
        self.teacher = FrozenTeacher(_Projected(own, head))
        self.probe = LinearProbe(hidden, output.logits.shape[-1])

    @property
    def is_probing(self) -> bool:
        """Whether the phase of the linear probe has started."""
        return self.fraction >= 1.0 - self.config.probe_share

    def loss(self, batch: Batch) -> Terms:
        """First `teacher`, over all examples; then `label`, for the head alone."""
        hidden = self.learner(batch).hidden
        if self.is_probing:
            return Terms(label=label_loss(self.probe(hidden), batch["label"], weight=batch.label_weight))
        self.probe.moments.accumulate(hidden, self.place)
        return Terms(teacher=distillation_loss(self.projection(hidden), self.teacher.signal(batch)))

    def after_step(self) -> None:
        """Write the probe into the student's head."""
        if self.is_probing:
            self.probe.write(self.learner.head)
        else:
            self.probe.moments.update()

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher, the labelled ones for the labels."""
        return {"teacher": batch.size, "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A student that imitates a random teacher from nearby has better features for a probe than the teacher.",
    arms={
        "random_teachers": "random_teachers",
        "random teacher": {"method": "random_teachers", "distance": 0.0, "probe_share": 1.0},
        "supervised": "supervised",
        "from the teacher itself": {"method": "random_teachers", "distance": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="random_teachers",
    baseline="random teacher",
    cheap="supervised",
    ablation="from the teacher itself",
    untaught="untaught",
    world="characters",
    smallest_effect=0.02,
    settings={"test": 0.3, "steps": 400, "student": "mlp:128,64", "schedule": "constant"},
    search={
        "random_teachers": {"distance": (0.1, 0.3), "lr": (0.001, 0.003)},
        "random teacher": {"lr": (0.001, 0.003, 0.01, 0.03)},
        "supervised": {"lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="Imitation without labels improves features, although the teacher knows nothing; its probe is half as long.",
    omits="Deep residual nets, sparse subnetworks, the loss landscape, and noise in the place of images.",
    systems=("random-teachers-are-good-teachers",),
)
