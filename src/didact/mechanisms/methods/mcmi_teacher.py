"""The mechanism of `mcmi_teacher`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal, student, teacher
from didact.methods.distillation.mcmi_teacher import Config, McmiTeacher

N, C = 40, 4


@mechanism(
    world="A teacher that is a table of logits.",
    effect="Fine-tuning raises what the teacher says about examples beyond their class: the gradient is minus the "
    "weight times q (log q - log m - KL), with the mean prediction m of the class.",
    control="With a weight of zero, nothing of it arrives.",
    breaks=("flip reverse_kl", "drop reverse_kl", "shuffle reverse_kl"),
)
def the_teacher_tells_examples_apart(seed: int) -> Found:
    """The coefficient of the information's gradient on the closed form of a weight of one."""
    rows, theirs = batch(N, C, seed), normal(N, C, seed=seed)
    q = theirs.softmax(1)

    def measured(weight: float) -> float:
        method = McmiTeacher(Config(information=weight), student(normal(N, C, seed=seed)), teacher(theirs), rows)
        method.step, method.fraction = 0, 0.0
        term = method.loss(rows)["information"]
        mean = method.centroids.mean[rows["label"]].log()
        gap = q.log() - mean
        closed = -q * (gap - (q * gap).sum(1, keepdim=True)) / N
        table = next(w for name, w in method.tuned.named_parameters() if name.endswith("table"))
        (found,) = torch.autograd.grad(term.mean() * term.weight, [table])
        return float((found * closed).sum() / closed.square().sum())

    return Found(effect=measured(0.3), predicted=near(0.3), control=measured(0.0), null=near(0.0))
