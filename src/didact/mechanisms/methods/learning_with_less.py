"""The mechanism of `learning_with_less`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import gradient, student, teacher
from didact.methods.semi_supervised.learning_with_less import Config, LearningWithLess
from didact.types import Batch

SURE, UNSURE = (0.98, 0.02), (0.6, 0.4)


@mechanism(
    world="A teacher and a student that are sure or unsure of two classes, in all four combinations.",
    effect="All of the gradient is of the examples that the teacher is sure of and the student is not.",
    control="Both gates are off: each unsure student's example counts alike, whether the teacher is sure or not.",
    breaks=("drop joint_gate", "shuffle joint_gate"),
)
def only_what_the_teacher_knows_and_the_student_does_not_is_learned(seed: int) -> Found:
    """The share of the absolute gradient in those rows."""
    rows = (torch.arange(16) + seed) % 4
    kinds = torch.tensor([SURE, UNSURE])
    theirs, mine = kinds[rows % 2], kinds[rows // 2]
    there = torch.arange(16)
    batch = Batch({"id": there, "row": there})
    wanted = (rows % 2 == 0) & (rows // 2 == 1)

    def measured(on: bool) -> float:
        config = Config(sure_teacher=on, unsure_student=on)
        size = gradient(LearningWithLess(config, student(mine.log()), teacher(theirs.log())), batch, "teacher").abs()
        return float(size[wanted].sum() / size.sum())

    # Off, an example pulls by 1 - p of the class that is learned.
    pulls = 2 * (1 - SURE[0]) + 2 * (1 - UNSURE[0])
    return Found(
        effect=measured(True), predicted=near(1.0), control=measured(False), null=near((1 - UNSURE[0]) / pulls)
    )
