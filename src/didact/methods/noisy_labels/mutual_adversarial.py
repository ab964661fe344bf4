"""Mutual Adversarial Training: Learning Together is Better Than Going Alone (Liu, Lau & Chellappa 2021).

Several students are trained together. Each makes adversarial examples of the batch that raise its own loss, and shares
them. A student learns the labels on its own ones, and the predictions of each peer (forward KL) on its own and on that
peer's adversarial examples, averaged. With `peer_norm`, the peers specialise in another kind of attack.

Departures: the students are updated at once on the same predictions, and one optimizer holds them all; the first is
delivered. Students attack themselves in the mode in which they train. No public code of the authors was found: the
terms are those of their description, and each term is a mean over examples.

Compared with PGD of Harry24k/adversarial-attacks-pytorch (torchattacks): the steps agree. Terms and gradients:
`tests/methods/test_attacks_in_training.py::test_mutual_adversarial_training_is_written_out`.

On `digits:attacked`, it is undecided against "alone" (-0.7 points of accuracy under attack, -1.8 to +0.5), and better
than `supervised` by 39.8 (38.2 to 41.5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.losses.attacks import Norm, attack
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import distillation_loss
from didact.types import Batch, ExampleFeed, Learner, Logits, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `mutual_adversarial`."""

    students: int = 2  # number of students, the delivered one included
    peer: str = ""  # spec of the other students, such as mlp:64,64; by default the learner's
    weight: float = 1.0  # weight of the peers' predictions, relative to the labels
    temperature: float = 1.0  # softens the probabilities of both
    radius: float = 0.03  # how far an input may be moved, in the norm; 8/255 in the paper
    attack_steps: int = 7  # gradient steps of the attack; each is 2.5 radii over their number
    norm: Norm = "linf"  # of the attack: the largest number, or the length
    peer_norm: Literal["", "linf", "l2"] = ""  # that of the peers, by default the same
    peer_radius: float = 0.0  # their radius; 0 for the same

    def __post_init__(self) -> None:
        check_range("students", self.students, at_least=2)
        for name in ("weight", "radius", "peer_radius"):
            check_range(name, getattr(self, name), at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)
        check_range("attack_steps", self.attack_steps, at_least=1)


class MutualAdversarial(Method):
    """Train students that share their adversarial examples and predictions.

    Args:
        config: the options.
        learner: the student that is delivered.
        spawn: makes another student from a spec ("" for the learner's own), with fresh weights at each call.
        sample: a few examples, whose range says whether inputs are bounded.

    Raises:
        ConfigError: the inputs are text, which cannot be moved.
    """

    feed = ExampleFeed()

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module], sample: Batch) -> None:
        if "x" not in sample:
            raise ConfigError("The inputs are text, which mutual_adversarial cannot move; use mutual_learning.")
        self.config, self.learner = config, learner
        self.peers = nn.ModuleList(spawn(config.peer) for _ in range(config.students - 1))
        self.bounds = (0.0, 1.0) if sample["x"].ndim == 4 else None

    def loss(self, batch: Batch) -> Terms:
        """For each student i: `label_i` on its own examples; `peer_i_j_k`, the peer j's predictions on those of k."""
        config, students = self.config, (self.learner, *self.peers)
        moved = [self.attacked(student, batch, peer=i > 0) for i, student in enumerate(students)]
        logits = [[student(one).logits for one in moved] for student in students]
        terms, weight = Terms(), config.weight / (2 * len(self.peers))
        for i, mine in enumerate(logits):
            terms[f"label_{i}"] = label_loss(mine[i], batch["label"], weight=batch.label_weight)
        for i, j, k in self.pairs:
            signal = Logits(logits=logits[j][k].detach())
            term = distillation_loss(logits[i][k], signal, temperature=config.temperature)
            terms[f"peer_{i}_{j}_{k}"] = term.times(weight)
        return terms

    @property
    def pairs(self) -> list[tuple[int, int, int]]:
        """What is learned from peers: by which student i, from which peer j, on whose examples k."""
        numbers = range(self.config.students)
        return [(i, j, k) for i in numbers for j in numbers if i != j for k in (i, j)]

    def attacked(self, student: Callable[[Batch], object], batch: Batch, *, peer: bool) -> Batch:
        """The batch with inputs that are moved to raise a student's loss."""
        config = self.config
        norm: Norm = (config.peer_norm or config.norm) if peer else config.norm
        radius = (config.peer_radius or config.radius) if peer else config.radius

        def loss(x: Tensor) -> Tensor:
            return label_loss(student(Batch({**batch, "x": x})).logits, batch["label"]).sum  # pyright: ignore[reportAttributeAccessIssue]

        step = 2.5 * radius / config.attack_steps
        x = attack(batch["x"], loss, radius=radius, step=step, steps=config.attack_steps, norm=norm, bounds=self.bounds)
        return Batch({**batch, "x": x})

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the peers, the labelled ones for the labels."""
        labelled = is_labelled(batch["label"]).sum()
        pairs = {f"peer_{i}_{j}_{k}": batch.size for i, j, k in self.pairs}
        return {**pairs, **{f"label_{i}": labelled for i in range(self.config.students)}}


CLAIM = Claim(
    statement="Two students that share adversarial examples and predictions are more robust than one trained alone.",
    arms={
        "mutual_adversarial": {"method": "mutual_adversarial", "radius": 0.15, "attack_steps": 4},
        "alone": {"method": "mutual_adversarial", "radius": 0.15, "attack_steps": 4, "weight": 0.0},
        "supervised": "supervised",
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="mutual_adversarial",
    baseline="alone",
    cheap="supervised",
    ablation="alone",
    untaught="untaught",
    world="digits:attacked",
    metric="robust_accuracy",
    smallest_effect=0.01,
    settings={"test": 0.3, "steps": 150, "student": "mlp:64", "lr": 0.01},
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407),
    shows="Shared attacks and predictions of two nets on small digits, by PGD with 20 steps at the same radius; alone "
    "is plain adversarial training.",
    omits="Deep nets, natural images, larger cohorts, unions of norms, and weights that were tuned.",
    systems=("mutual-adversarial-training",),
)
