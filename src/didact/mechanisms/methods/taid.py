"""The mechanism of `taid`."""

import torch

from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.taid import TAID, Config
from didact.teachers import LanguageTeacher

P, V, START = 60, 5, 0.3


@mechanism(
    world="A student and a teacher that are tables.",
    effect="The target lies between student and teacher: at a share of 0.3, the gradient is the student's "
    "probabilities less those of 0.7 of its own logits and 0.3 of the teacher's.",
    control="At a share of one the target is the teacher, and the step more than twice as large.",
    breaks=("flip token_divergence", "drop token_divergence", "shuffle token_divergence"),
)
def the_target_moves_from_student_to_teacher(seed: int) -> Found:
    """The gradient's coefficient on that towards the mixed target."""
    mine, theirs = normal(P, V, seed=seed), normal(P, V, seed=seed + 50)
    closed = (mine.softmax(1) - ((1 - START) * mine + START * theirs).softmax(1)) / P

    def measured(share: float) -> float:
        method = TAID(Config(t_start=START), Policy(mine), LanguageTeacher(Policy(theirs)))
        method.rise.figures[0] = share
        batch = actions(torch.arange(P), torch.zeros(P, dtype=torch.int64))
        return coefficient(gradient(method, batch, "teacher"), closed)

    return Found(effect=measured(START), predicted=near(1.0), control=measured(1.0), null=above(2.0))


@mechanism(
    world="A run whose loss stays the same.",
    effect="The share rises at least as fast as the budget is used, from its start to one.",
    control="Before the first step it is at its start.",
    breaks=("skip Rise.update",),
)
def the_share_ends_at_the_teacher(seed: int) -> Found:
    """The teacher's share at the end and at the beginning."""
    mine, theirs = normal(P, V, seed=seed), normal(P, V, seed=seed + 50)
    method = TAID(Config(t_start=START), Policy(mine), LanguageTeacher(Policy(theirs)))
    batch, first = actions(torch.arange(P), torch.zeros(P, dtype=torch.int64)), float(method.rise.figures[0])
    for step in range(1, 11):
        method.fraction = step / 10
        method.loss(batch)
        method.after_step()
    return Found(effect=float(method.rise.figures[0]), predicted=near(1.0), control=first, null=near(START))


@mechanism(
    world="A run of ten steps whose loss stays the same.",
    effect="However short the run is, the share rises faster than linearly: by half of the pace times the step's part "
    "of the budget, of what is left.",
    control="With a pace of zero it is halfway between its start and one in the middle of the run.",
    breaks=("skip Rise.update",),
)
def the_share_rises_in_short_runs(seed: int) -> Found:
    """The teacher's share in the middle of the run."""
    table, pace = normal(P, V, seed=seed), 4.0

    def measured(pace: float) -> float:
        method = TAID(Config(t_start=START, pace=pace), Policy(table), LanguageTeacher(Policy(table)))
        for step in range(1, 6):
            method.fraction, method.seen = step / 10, torch.tensor([3.0, 2.0])
            method.after_step()
        return float(method.rise.figures[0])

    closed = 1 - (1 - START) * (1 - 0.5 * pace / 10) ** 5
    return Found(effect=measured(pace), predicted=near(closed), control=measured(0.0), null=near((1 + START) / 2))
