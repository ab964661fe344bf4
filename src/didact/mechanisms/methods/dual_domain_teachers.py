"""The mechanism of `dual_domain_teachers`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import gradient, student
from didact.methods.adaptation.dual_domain_teachers import Config, DualDomainTeachers
from didact.types import IGNORE, Batch

N, C, SHARE, EXCHANGE = 20, 5, 0.6, 0.4


@mechanism(
    world="Two students that are sure of another class each, on rows of the target domain alone.",
    effect="The first is pulled to the second's answers by the share of the target times that of the exchange.",
    control="Without exchange it learns its own answers alone.",
    breaks=("flip cross_entropy", "drop fixed_gate", "shuffle pseudo_labels"),
)
def a_student_learns_what_the_other_average_answers(seed: int) -> Found:
    """The gradient on the classes that the other average answers, summed over the rows, with its sign turned."""
    chance = torch.Generator().manual_seed(seed)
    mine = torch.arange(N) % C
    theirs = (mine + torch.randint(1, C, (N,), generator=chance)) % C
    rows = torch.arange(N)
    shown = Batch({"label": torch.full((N,), IGNORE), "id": rows, "weak.row": rows, "strong.row": rows})

    def measured(exchange: float) -> float:
        config = Config(more_target=SHARE, exchange=exchange)
        tables = [torch.eye(C)[said] * 12.0 for said in (mine, theirs)]
        method = DualDomainTeachers(config, student(tables[0]), lambda _spec: student(tables[1]))
        return -float(gradient(method, shown, "own_0", "crossed_0")[rows, theirs].sum())

    predicted = near(SHARE * EXCHANGE)
    return Found(effect=measured(EXCHANGE), predicted=predicted, control=measured(0.0), null=(-1e-3, 1e-3))
