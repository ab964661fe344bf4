"""PLD: A Choice-Theoretic List-Wise Knowledge Distillation (Bassam, Zhu & Bian 2025).

The student learns the teacher's ranking of the classes, with the true label first and the others in the teacher's
order, under the Plackett-Luce model; each choice in the ranking is weighted by the teacher's probability of the chosen
class. The first choice is the cross-entropy, so no separate label loss and no weight between two losses are needed.

Departures: an example without a label is ranked by the teacher alone; the paper has labels throughout.

The claim is not shown on digits: distillation with a tuned weight and temperature is as accurate, and only that
with its defaults is worse; students of 8 and 16 units with all labels, and softer weights here, showed no more. With
ten classes and a teacher that is nearly always certain, nearly all the weight lies on the first choice, where both
losses are the same.
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.classes.ranking import plackett_luce
from didact.losses.labels.targets import target_log_probs
from didact.types import Batch, ExampleFeed, Learner, Method, Teacher, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `pld`."""

    temperature: float = 1.0  # softens the teacher's probabilities, which weigh the choices; not their order

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, above=0.0)


class PLD(Method):
    """Learn a teacher's ranking of the classes.

    Args:
        config: the options.
        learner: the student.
        teacher: a teacher with logits, class probabilities or class labels.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, teacher: Teacher) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher

    def loss(self, batch: Batch) -> Terms:
        """`ranking`: the weighted Plackett-Luce loss over all examples."""
        signal = self.teacher.signal(batch)
        logits = self.learner(batch).logits
        theirs = target_log_probs(signal, self.config.temperature, classes=logits.shape[-1])
        return Terms(ranking=plackett_luce(logits, theirs, batch["label"], trust=signal.effective_trust))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples (the teacher never abstains)."""
        return {"ranking": batch.size}


CLAIM = Claim(
    statement="A student that learns the teacher's ranking of the classes, with no weight between two losses, is more "
    "accurate than one that matches its softened probabilities with the weight and temperature tuned.",
    arms={
        "pld": "pld",
        "tuned distill": {"method": "distill", "temperature": 1.0, "alpha": 0.9},
        "distill": "distill",
        "supervised": "supervised",
        "label_spreading": "label_spreading",
    },
    method="pld",
    baseline="tuned distill",
    cheap="supervised",
    settings={"labels": 100, "steps": 500, "student": "mlp:32", "teacher": "mlp:256,256"},
    equal="steps",
    tuned_on=(0, 1, 2, 3, 4),
    tuned="Of distill, temperature (1, 2, 4) and alpha (0.5, 0.9, 1); of pld, temperature (1, 2, 4). The defaults of "
    "distill are an arm of their own.",
    shows="The ranking loss itself, with the label first where there is one, against the divergence that it replaces.",
    omits="ImageNet's thousand classes, whose ranking is more informative than that of ten; the paper's other losses.",
    systems=("pld",),
)
