"""The mechanism of `seeded_iterated`."""

import torch

from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.policies import Policy
from didact.mechanisms.world import normal
from didact.methods.language.seeded_iterated import Config, SeededIterated
from didact.types import Questions

P, V = 12, 5


@mechanism(
    world="A teacher that is a table and has drifted away from the model that it began as.",
    effect="At the end of a generation the student, which is the model from before, replaces the teacher: what it had "
    "no time to imitate is lost.",
    control="Within a generation the teacher keeps its drift.",
    breaks=("skip load_module_state",),
)
def drift_is_lost_at_the_end_of_a_generation(seed: int) -> Found:
    """How far the teacher is from the model that it began as."""

    def measured(step: int) -> float:
        method = SeededIterated(Config(interaction=2, imitation=1), Policy(torch.zeros(P, V)), Questions(items=()))
        table = method.learner.table
        with torch.no_grad():
            table += normal(P, V, seed=seed)
        method.step = step
        method.after_step()
        return float(table.detach().norm())

    return Found(effect=measured(2), predicted=near(0.0), control=measured(1), null=above(1.0))
