"""PLD: A Choice-Theoretic List-Wise Knowledge Distillation (Bassam, Zhu & Bian 2025).

The student learns the teacher's ranking of the classes, with the true label first and the others in the teacher's
order, under the Plackett-Luce model; each choice in the ranking is weighted by the teacher's probability of the chosen
class. The first choice is the cross-entropy, so no separate label loss and no weight between two losses are needed.

Departures: an example without a label is ranked by the teacher alone; the paper has labels throughout.

Compared with no code of the authors, of which none was found.

Formula: `tests/losses/test_ranking.py::test_each_choice_is_among_those_left`.

On MNIST-1D with 300 labels, whether it is better than a tuned `distill` is undecided (-0.3 points, -1.1 to +0.6); it is
better than its first choice alone by 1.5 (0.9 to 2.1).

On `mnist1d` with 300 labels, it is undecided against a tuned `distill` (-0.3 points, -1.1 to +0.6), better than
`supervised` by 25.6 (24.5 to 26.8), and better than itself without its mechanism ("first choice alone") by 1.5 (0.8 to
2.1).
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
    statement="A student that learns the teacher's ranking of the classes is more accurate than by plain distillation.",
    arms={
        "pld": "pld",
        "distill": "distill",
        "supervised": "supervised",
        "first choice alone": {"method": "pld", "temperature": 0.05},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="pld",
    baseline="distill",
    cheap="supervised",
    ablation="first choice alone",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"labels": 300, "test": 0.4, "steps": 400, "student": "mlp:64", "teacher": "cnn1d:16,32,16"},
    search={
        "pld": {"temperature": (1.0, 4.0), "lr": (0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="The ranking loss, with the label first where there is one, against the divergence that it replaces.",
    omits="ImageNet's thousand classes, whose ranking says more than that of ten; the paper's other losses.",
    systems=("pld",),
)
