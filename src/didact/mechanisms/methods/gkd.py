"""The mechanism of `gkd`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.gkd import GKD, Config
from didact.teachers import LanguageTeacher

P, V = 60, 5


@mechanism(
    world="A student and a teacher that are tables.",
    effect="The reverse divergence weighs by the student: its gradient is q (log q - log p - KL), which leaves alone "
    "what the student never says.",
    control="The teacher's rows are shuffled among the prompts.",
    breaks=("flip token_divergence", "drop token_divergence", "shuffle token_divergence"),
)
def the_student_seeks_the_teachers_mode(seed: int) -> Found:
    """The gradient's coefficient on what the teacher adds to it."""
    mine, theirs = normal(P, V, seed=seed), normal(P, V, seed=seed + 50)
    q, log_q = mine.softmax(1), mine.log_softmax(1)

    def pull(log_p: Tensor) -> Tensor:
        return -q * (log_p - (q * log_p).sum(1, keepdim=True)) / P

    own = q * (log_q - (q * log_q).sum(1, keepdim=True)) / P

    def measured(shown: Tensor) -> float:
        method = GKD(Config(divergence="reverse"), Policy(mine), LanguageTeacher(Policy(shown)))
        batch = actions(torch.arange(P), torch.zeros(P, dtype=torch.int64))
        return coefficient(gradient(method, batch, "teacher") - own, pull(theirs.log_softmax(1)))

    return Found(effect=measured(theirs), predicted=near(1.0), control=measured(theirs.roll(1, 0)), null=(-0.3, 0.3))
