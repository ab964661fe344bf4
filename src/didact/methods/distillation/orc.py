"""ORC: Network Group-based Knowledge Distillation using Online Role Change (Choi, Cho, Cheung & Hwang 2023).

A pivot teacher and a group of students are trained together on the labels. At every step the best students on the batch
are promoted to temporary teachers. The pivot is also trained on the students' errors, mixed with other examples
(intensive teaching); it teaches the temporary teachers (private teaching); and pivot and temporary teachers teach the
other students, each by its own probabilities (group teaching). Thus no weaker network teaches.

Departures: students are ranked by their loss on the batch; an example's weight in intensive teaching is the share of
students that misclassify it, and the mixture is the same for the whole batch, where the paper draws a number of samples
for each student; text is not mixed. The weights of the terms are our own. All networks are updated at the same time.
The first student is delivered.

Compared with no code: the authors' repository (choijunyong/ORCKD) holds none.

Formula: `tests/methods/test_orc.py::test_the_best_students_teach_the_others`.

On `mnist1d`, it is equivalent to a tuned `mutual_learning` (-0.1 points, -0.7 to +0.4), equivalent to `supervised`
(+0.5, -0.1 to +1.0), and equivalent to itself without its mechanism ("fixed roles") (+0.2, -0.2 to +0.6). Training
takes 1.2 times the operations of the baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.losses.labels.supervised import cross_entropy, mixed_cross_entropy
from didact.losses.labels.targets import distillation_loss
from didact.types import IGNORE, Batch, ExampleFeed, Learner, Logits, Method, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `orc`."""

    students: int = 3  # number of students, the delivered one included
    promoted: int = 1  # number of temporary teachers per step; 0 for the pivot alone
    peer: str = ""  # spec of the other students, such as mlp:64,64; by default the learner's
    pivot: str = ""  # spec of the pivot teacher; by default the learner's
    weight: float = 1.0  # weight of the teachers' predictions, relative to the labels; shared equally
    temperature: float = 1.0  # softens the probabilities of both
    feedback: float = 1.0  # weight of the students' errors in the pivot's loss

    def __post_init__(self) -> None:
        check_range("students", self.students, at_least=2)
        check_range("promoted", self.promoted, at_least=0)
        if self.promoted >= self.students:
            raise ConfigError(f"promoted is {self.promoted}, but must be below students, which is {self.students}.")
        check_range("weight", self.weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)
        check_range("feedback", self.feedback, at_least=0.0)


class ORC(Method):
    """Distil a pivot and the current best students into the other students.

    Args:
        config: the options.
        learner: the student that is delivered.
        spawn: makes the other students and the pivot from a spec ("" for the learner's own), with fresh weights.
    """

    feed = ExampleFeed(unlabelled=True, coupled=True, alone="the losses of the whole batch decide which students teach")

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module]) -> None:
        self.config, self.learner = config, learner
        self.peers = nn.ModuleList(spawn(config.peer) for _ in range(config.students - 1))
        self.pivot = spawn(config.pivot)

    def loss(self, batch: Batch) -> Terms:
        """`label_i`, `pivot_i` and `temporary_i_k` for student i; `pivot_label` and `feedback` for the pivot."""
        config, labels = self.config, batch["label"]
        logits = [student(batch).logits for student in (self.learner, *self.peers)]
        pivot = self.pivot(batch).logits
        logits_SBC = torch.stack(logits).detach()
        own = [cross_entropy(mine, labels, weight=batch.label_weight) for mine in logits]
        terms = Terms({f"label_{i}": term for i, term in enumerate(own)})
        terms["pivot_label"] = cross_entropy(pivot, labels, weight=batch.label_weight)
        terms["feedback"] = self._intensive(batch, logits_SBC).times(config.feedback)
        promoted_K = torch.stack([term.mean().detach() for term in own]).argsort()[: config.promoted]
        learns_S = torch.ones_like(logits_SBC[:, 0, 0]).index_fill(0, promoted_K, 0.0)
        for i, mine in enumerate(logits):
            terms[f"pivot_{i}"] = self._teach(mine, pivot.detach())
            for k in range(config.promoted):
                promoted = logits_SBC.index_select(0, promoted_K[k : k + 1])[0]
                terms[f"temporary_{i}_{k}"] = self._teach(mine, promoted, trust=learns_S[i].expand(len(mine)))
        return terms

    def _teach(self, mine: Tensor, theirs: Tensor, trust: Tensor | None = None) -> Term:
        signal = Logits(logits=theirs, trust=trust)
        weight = self.config.weight / (1 + self.config.promoted)
        return distillation_loss(mine, signal, temperature=self.config.temperature).times(weight)

    def _intensive(self, batch: Batch, logits_SBC: Tensor) -> Term:
        """The pivot's loss on mixtures of examples with their neighbours, weighted by the students' error rates."""
        labels = batch["label"]
        wrong_B = ((logits_SBC.argmax(-1) != labels) & (labels != IGNORE)).float().mean(0)
        if "x" not in batch:
            return cross_entropy(self.pivot(batch).logits, labels, trust=wrong_B)
        x = batch["x"]
        share = torch.rand((), device=x.device)
        mixed = Batch({**batch, "x": torch.lerp(x.roll(1, 0), x, share.to(x.dtype))})
        return mixed_cross_entropy(self.pivot(mixed).logits, labels, labels.roll(1, 0), share, trust=wrong_B)


CLAIM = Claim(
    statement="A student of a group whose best members teach at each step is more accurate than by mutual learning.",
    arms={
        "orc": "orc",
        "mutual_learning": {"method": "mutual_learning", "students": 4},
        "supervised": "supervised",
        "fixed roles": {"method": "orc", "promoted": 0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="orc",
    baseline="mutual_learning",
    cheap="supervised",
    ablation="fixed roles",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"test": 0.4, "steps": 400, "student": "mlp:64"},
    search={
        "orc": {"weight": (0.5, 1.0), "lr": (0.01, 0.03)},
        "mutual_learning": {"weight": (0.3, 1.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="Changing roles, teaching the pivot what the students get wrong, and group teaching, in a pool of four nets.",
    omits="Nets of different depths, of which the pivot is the deepest, and images on which students differ by class.",
    systems=("orc",),
)
