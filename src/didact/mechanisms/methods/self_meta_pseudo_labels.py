"""The mechanism of `self_meta_pseudo_labels`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal
from didact.methods.semi_supervised.self_meta_pseudo_labels import Config, SelfMetaPseudoLabels
from didact.types import Batch


@mechanism(
    world="A linear student, whose gradients on labels and on pseudo-labels have a closed form.",
    effect="The feedback is rate · (the inner product of both gradients), up to the square of the rate.",
    control="Without a trial step there is no feedback.",
    breaks=("bypass step_ahead", "flip cross_entropy"),
)
def the_feedback_is_the_product_of_two_gradients(seed: int) -> Found:
    """The feedback over its first-order value."""
    size, classes, rate = 24, 3, 1e-3
    x, noise = (normal(size, 4, seed=seed + more).double() for more in (0, 50))
    other = x + 0.5 * noise
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = ModuleLearner(nn.Linear(4, classes, bias=False)).double()
    weight = learner.get_parameter("module.weight").detach()

    def gradient(rows: Tensor, target: Tensor) -> Tensor:
        told = nn.functional.one_hot(target, classes).double()
        return ((rows @ weight.T).softmax(-1) - told).T @ rows / size

    pseudo = (x @ weight.T).argmax(-1)
    shown = batch(size, classes, seed, **{"weak.x": x, "strong.x": other})
    # Some pseudo-labels are right, so that the product is not small.
    shown = Batch({**shown, "label": torch.where(torch.arange(size) % 3 > 0, pseudo, shown["label"])})
    product = float((gradient(x, shown["label"]) * gradient(other, pseudo)).sum())

    def measured(length: float) -> float:
        config = Config(rate=length, memory=0.0)
        method = SelfMetaPseudoLabels(config, learner, lambda _: learner)
        towards = nn.functional.cross_entropy(learner(shown.view("strong")).logits, pseudo)
        return float(method.fall(shown, towards, None)) / (rate * product)

    return Found(effect=measured(rate), predicted=near(1.0, 0.05), control=measured(0.0), null=near(0.0))
