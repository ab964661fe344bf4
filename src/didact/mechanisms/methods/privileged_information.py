"""The mechanism of `privileged_information`."""

from torch import Tensor

from didact.mechanisms.checking import Found, above, mechanism
from didact.mechanisms.world import batch, normal, student, table_of, teacher, train
from didact.methods.distillation.privileged_information import Config, PrivilegedInformation

N, D, C = 24, 6, 3


@mechanism(
    world="Tables of features of one width.",
    effect="The student's features turn to the direction of the teacher's, whatever their length.",
    control="The teacher's rows are shuffled among the examples.",
    breaks=("flip feature_cosine", "drop feature_cosine", "shuffle feature_cosine"),
)
def features_turn_to_the_teachers(seed: int) -> Found:
    """The mean cosine of the student's and the teacher's features."""
    rows, mine, theirs = batch(N, C, seed), normal(N, D, seed=seed), normal(N, D, seed=seed + 50)

    def measured(shown: Tensor) -> float:
        method = PrivilegedInformation(Config(), student(mine, C), teacher(shown, C), rows)
        train(method, rows, "feature", steps=40, rate=0.2)
        found = table_of(method).detach()
        return float((found * theirs).sum(1).div(found.norm(dim=1) * theirs.norm(dim=1)).mean())

    return Found(effect=measured(theirs), predicted=above(0.95), control=measured(theirs.roll(1, 0)), null=(-0.3, 0.3))
