"""Deep Mutual Learning (Zhang, Xiang, Hospedales & Lu 2018).

Several students are trained together, each on the labels and on the others' predictions (forward KL from each peer to
it, averaged over the peers). No teacher is needed. As in the paper's semi-supervised extension, examples without a
label contribute to the KL only.

Departures: the students are updated at the same time on the same predictions, where the paper updates one after the
other on the new predictions of those before; one optimizer holds them all. The first student is delivered.
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
        "supervised": "supervised",
        "four students": {"method": "mutual_learning", "students": 4},
        "label_spreading": "label_spreading",
    },
    method="mutual_learning",
    baseline="supervised",
    cheap="label_spreading",
    settings={"labels": 100, "steps": 1000, "student": "mlp:32"},
    equal="steps",
    shows="Predictions of peers with other initial weights on labelled and unlabelled images.",
    omits="Small nets on few labels, where the paper has deep ones on all; and that two nets cost twice as much.",
)
