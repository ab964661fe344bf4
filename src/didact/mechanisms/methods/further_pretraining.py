"""The mechanism of `further_pretraining`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student
from didact.methods.distillation.further_pretraining import Config, FurtherPretraining

N, D, C = 64, 6, 3


@mechanism(
    world="Rows whose columns say the same, but for a little noise.",
    effect="Pre-training on masked columns learns what columns say about each other: much of the variance of what is "
    "masked is explained.",
    control="Columns that say nothing about each other.",
    breaks=("drop masked_mse", "flip masked_mse", "shuffle masked_mse"),
)
def masked_columns_are_found_from_the_others(seed: int) -> Found:
    """The share of the variance of new rows' masked columns that is explained."""

    def measured(x: Tensor) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            learner = ModuleLearner(nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, C)))
            rows, fresh = (batch(N, C, seed, x=part) for part in x.split(N))
            method = FurtherPretraining(Config(hidden_share=0.3), learner, rows, seed)
            method.fraction = 0.0
            assert method.copy is not None and method.copy_reconstruction is not None
            weights = [*method.copy.parameters(), *method.copy_reconstruction.parameters()]
            optimizer = torch.optim.Adam(weights, lr=0.02)
            for _ in range(80):
                optimizer.zero_grad(set_to_none=True)
                method.loss(rows).total().backward()
                optimizer.step()
                method.after_step()
            with torch.no_grad():
                errors = [float(method.loss(fresh)["copy"].mean()) for _ in range(10)]
        return 1.0 - sum(errors) / len(errors)

    apart = normal(2 * N, D, seed=seed)
    alike = normal(2 * N, 1, seed=seed) + 0.2 * normal(2 * N, D, seed=seed + 50)
    return Found(effect=measured(alike), predicted=(0.4, 0.99), control=measured(apart), null=(-1.0, 0.1))


@mechanism(
    world="A student and its further pre-trained copy, both tables of representations.",
    effect="The student is held near the copy: the gradient is 2 (mine - theirs), summed over the representation.",
    control="The copy's rows are shuffled among the examples.",
    breaks=("flip feature_mse", "drop feature_mse", "shuffle feature_mse"),
)
def the_student_is_held_near_the_copy(seed: int) -> Found:
    """The gradient's coefficient on what the copy says."""
    mine, theirs = normal(N, D, seed=seed), normal(N, D, seed=seed + 50)
    rows = batch(N, C, seed, x=normal(N, D, seed=seed + 1))

    def measured(shown: Tensor) -> float:
        method = FurtherPretraining(Config(), student(mine, C), rows, seed)
        method.fraction = method.config.teacher_share
        assert method.copy is not None
        with torch.no_grad():
            method.copy.get_parameter("module.table").copy_(shown)
        return coefficient(gradient(method, rows, "teacher") - 2.0 * mine / N, -2.0 * theirs / N)

    return Found(effect=measured(theirs), predicted=near(1.0), control=measured(theirs.roll(1, 0)), null=(-0.3, 0.3))
