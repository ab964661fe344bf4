"""The mechanism of `teacher_hacking`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import gradient, normal
from didact.methods.language.teacher_hacking import Config, TeacherHacking
from didact.teachers import LanguageTeacher
from didact.types import Batch, Questions

P, V, EACH, STEP = 20, 4, 24, 2.0


@mechanism(
    world="An oracle that is a table, texts by it, a student that begins as the oracle, and a teacher with mistakes.",
    effect="The student learns the mistakes: after a step towards the teacher's probabilities it is as far from the "
    "oracle as the divergence says.",
    control="The teacher is the oracle.",
    breaks=("flip token_divergence", "drop token_divergence", "flip completion_cross_entropy"),
)
def the_teachers_mistakes_are_learned(seed: int) -> Found:
    """The rise of the golden distance, in units of the closed form."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(normal(P, V, seed=seed).softmax(1), EACH - V, replacement=True, generator=generator)
    golden = torch.cat([torch.arange(V).expand(P, V), drawn], 1)
    oracle = torch.nn.functional.one_hot(golden, V).float().mean(1).log()
    mistaken = oracle + normal(P, V, seed=seed + 50)
    moved = oracle + STEP * (mistaken.softmax(1) - oracle.exp())
    closed = (oracle.exp() * (oracle - moved.log_softmax(1))).sum(1).mean()
    told = actions(torch.arange(P).repeat_interleave(EACH), golden.flatten())
    batch = Batch({**told, **{f"golden.{name}": tensor for name, tensor in told.items()}})

    def measured(theirs: Tensor) -> float:
        policy = Policy(oracle)
        method = TeacherHacking(Config(), policy, LanguageTeacher(Policy(theirs)), Questions(items=()))
        before, step = float(method.loss(batch)["golden"].mean()), gradient(method, batch, "proxy")
        with torch.no_grad():
            policy.table.sub_(STEP * P * step)
        return (float(method.loss(batch)["golden"].mean()) - before) / float(closed)

    return Found(effect=measured(mistaken), predicted=near(1.0), control=measured(oracle), null=(-0.01, 0.01))
