"""The mechanism of `kdrl`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, collected, every_action
from didact.mechanisms.world import gradient, normal
from didact.methods.language.kdrl import KDRL, Config
from didact.teachers import LanguageTeacher

P, V, WEIGHT = 30, 5, 0.3


@mechanism(
    world="A policy that is an even table, paid for its actions, and a teacher that is another table.",
    effect="One step follows the rewards and the teacher at once: the gradient is that of the advantages, plus the "
    "weight times that of the reverse divergence.",
    control="With a weight of zero, nothing of the teacher arrives.",
    breaks=("flip token_divergence", "drop token_divergence", "shuffle token_divergence"),
)
def rewards_and_teacher_add_up(seed: int) -> Found:
    """The weight of the teacher's gradient, by least squares on the two closed forms."""
    reward, theirs = normal(P, V, seed=seed), normal(P, V, seed=seed + 50)
    paid = -(reward - reward.mean(1, keepdim=True)) / reward.std(1, keepdim=True) / (P * V)
    log_p = theirs.log_softmax(1)
    taught = -(log_p - log_p.mean(1, keepdim=True)) / V / P

    def measured(weight: float) -> float:
        config = Config(teacher_weight=weight, teacher_end=weight)
        method = KDRL(config, Policy(torch.zeros(P, V)), LanguageTeacher(Policy(theirs)))
        found = gradient(method, collected(method, every_action(reward)), "policy", "teacher")
        both = torch.stack([paid.flatten(), taught.flatten()], 1)
        weights: Tensor = torch.linalg.lstsq(both, found.flatten().unsqueeze(1)).solution
        return float(weights[1, 0])

    return Found(effect=measured(WEIGHT), predicted=near(WEIGHT), control=measured(0.0), null=near(0.0))
