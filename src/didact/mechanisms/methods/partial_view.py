"""The mechanism of `partial_view`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism
from didact.mechanisms.world import normal, train
from didact.methods.semi_supervised.partial_view import Config, PartialView
from didact.types import IGNORE, Batch

COUNT, HALF, STEPS = 64, 4, 40


@mechanism(
    world="Inputs of which either half tells the class, and a student that looks at the left half alone.",
    effect="Without labels, it learns from parts to tell the class from the right half, too.",
    control="A student that sees the whole agrees with its average already, and learns nothing.",
    breaks=("flip cross_entropy", "drop cross_entropy"),
)
def what_is_known_of_the_whole_is_learned_of_each_part(seed: int) -> Found:
    """The share of inputs that are told apart by the right half."""
    label = torch.arange(COUNT) % 2
    x = (2.0 * label - 1)[:, None, None] + 0.2 * normal(COUNT, 1, 2 * HALF, seed=seed)
    batch = Batch({"x": x, "label": torch.full_like(label, IGNORE), "id": torch.arange(COUNT)})

    def measured(share: float) -> float:
        learner = ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(2 * HALF, 2, bias=False)))
        weight = learner.get_parameter("module.1.weight")
        with torch.no_grad():
            weight.zero_()
            weight[1, :HALF] = 2.0
        method = PartialView(Config(least=share, most=share, temperature=1.0, labels_first=0.0), learner)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            train(method, batch, "teacher", steps=STEPS, rate=0.05)
        right = torch.cat([torch.zeros(COUNT, 1, HALF), x[..., HALF:]], -1)
        with torch.no_grad():
            said = learner(Batch({"x": right})).logits.argmax(1)
        return float((said == label).double().mean())

    return Found(effect=measured(0.5), predicted=(0.95, 1.0), control=measured(1.0), null=(0.0, 0.7))
