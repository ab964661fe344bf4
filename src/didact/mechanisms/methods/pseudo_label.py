"""The mechanism of `pseudo_label`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import coefficient, gradient, normal, student
from didact.methods.semi_supervised.pseudo_label import Config, PseudoLabel
from didact.types import IGNORE, Batch

ROWS, CLASSES = 32, 4


@mechanism(
    world="A table of scores, of examples without a label.",
    effect="The gradient is that of the student's own likeliest class: the answers become surer.",
    control="No confidence reaches the threshold.",
    breaks=("flip pseudo_label_terms", "drop pseudo_label_terms"),
)
def the_student_becomes_surer_of_its_own_answers(seed: int) -> Found:
    """The gradient on the student's scores, by the closed form p - y over the examples."""
    table = normal(ROWS, CLASSES, seed=seed)
    rows = torch.arange(ROWS)
    batch = Batch({"label": torch.full((ROWS,), IGNORE), "id": rows, "weak.row": rows})
    probs = table.softmax(-1)
    closed = (probs - torch.eye(CLASSES)[table.argmax(-1)]) / ROWS

    def measured(threshold: float) -> float:
        method = PseudoLabel(Config(threshold=threshold, ramp_up=0.0), student(table))
        return coefficient(gradient(method, batch, "pseudo"), closed)

    return Found(effect=measured(0.0), predicted=near(1.0), control=measured(1.0), null=(-0.1, 0.1))
