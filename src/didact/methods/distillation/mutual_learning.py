"""Deep Mutual Learning (Zhang, Xiang, Hospedales & Lu 2018).

Several students are trained together, each on the labels and on the others' predictions (forward KL from each peer to
it, averaged over the peers). No teacher is needed. As in the paper's semi-supervised extension, examples without a
label contribute to the KL only.

Departures: the students are updated at the same time on the same predictions, where the paper updates one after the
other on the new predictions of those before; one optimizer holds them all. The first student is delivered.

Compared with train_models.py of YingZhangDUT/Deep-Mutual-Learning: the divergences agree, and each student's gradient
is of its own loss alone. It sums the divergences of several peers, where the paper and this file average them, and adds
1e-8 in the logarithm. Values and gradients:
`tests/methods/test_methods.py::test_mutual_learning_and_its_gradients_are_those_of_each_student_alone`.

On `characters`, it is worse than a tuned "alone" by 1.7 points (1.2 to 2.3), and worse than "label smoothing" by 3.8
(3.1 to 4.6); a single run does not show that. Training takes 2.0 times the operations of the baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import distillation_loss
from didact.types import Batch, ExampleFeed, Learner, Logits, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `mutual_learning`."""

    students: int = 2  # number of students, the delivered one included
    peer: str = ""  # spec of the other students, such as mlp:64,64; by default the learner's
    weight: float = 1.0  # weight of the peers' predictions, relative to the labels
    temperature: float = 1.0  # softens the probabilities of both

    def __post_init__(self) -> None:
        check_range("students", self.students, at_least=2)
        check_range("weight", self.weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class MutualLearning(Method):
    """Train a cohort of students that teach each other.

    Args:
        config: the options.
        learner: the student that is delivered.
        spawn: makes another student from a spec ("" for the learner's own), with fresh weights at each call.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module]) -> None:
        self.config = config
        self.learner = learner
        self.peers = nn.ModuleList(spawn(config.peer) for _ in range(config.students - 1))

    def loss(self, batch: Batch) -> Terms:
        """For each student i: `label_i`, and `peer_i_j` for the predictions of each other student j."""
        config = self.config
        logits = [student(batch).logits for student in (self.learner, *self.peers)]
        weight = config.weight / len(self.peers)
        terms = Terms()
        for i, mine in enumerate(logits):
            terms[f"label_{i}"] = label_loss(mine, batch["label"], weight=batch.label_weight)
            for j, other in enumerate(logits):
                if i != j:
                    signal = Logits(logits=other.detach())
                    terms[f"peer_{i}_{j}"] = distillation_loss(mine, signal, temperature=config.temperature).times(
                        weight
                    )
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the peers, the labelled ones for the labels."""
        labelled = is_labelled(batch["label"]).sum()
        students = range(self.config.students)
        pairs = {f"peer_{i}_{j}": batch.size for i in students for j in students if i != j}
        return {**pairs, **{f"label_{i}": labelled for i in students}}


CLAIM = Claim(
    statement="Two students that teach each other while they learn are more accurate than one that learns alone.",
    arms={
        "mutual_learning": "mutual_learning",
        "alone": "supervised",
        "label smoothing": {"method": "supervised", "label_smoothing": 0.1},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="mutual_learning",
    baseline="alone",
    cheap="label smoothing",
    ablation="alone",
    untaught="untaught",
    world="characters",
    smallest_effect=0.01,
    settings={"test": 0.3, "steps": 300, "student": "mlp:64,64"},
    search={
        "mutual_learning": {"temperature": (1.0, 2.0), "lr": (0.003, 0.01)},
        "alone": {"lr": (0.001, 0.003, 0.01, 0.03)},
        "label smoothing": {"lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="Predictions of a peer with other initial weights on labelled images. With no weight on them it is training "
    "alone.",
    omits="Deep nets, unlabelled images and larger cohorts; and that two nets cost twice as much.",
)
