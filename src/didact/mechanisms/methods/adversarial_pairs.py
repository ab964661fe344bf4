"""The mechanism of `adversarial_pairs`."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, above, below, mechanism, near
from didact.mechanisms.world import batch, normal, student
from didact.methods.noisy_labels.adversarial_pairs import AdversarialPairs, Config
from didact.types import Batch

SIZE, NUMBERS, STEPS = 24, 6, 40


def moved(seed: int, config: Config) -> tuple[ModuleLearner, Tensor, Tensor, AdversarialPairs]:
    """A student whose hidden numbers are a table, the table, and the wrong targets that its method makes."""
    rows, table = batch(SIZE, 2, seed), normal(SIZE, NUMBERS, seed=seed)
    source = table + 0.1 * normal(SIZE, NUMBERS, seed=seed + 5)
    net = student(table, 2, seed)
    method = AdversarialPairs(config, net, seed)
    wrong, _ = method.perturbed(source, table, net(rows).logits.detach(), rows["label"])
    return net, table, wrong, method


@mechanism(
    world="Two classes and a linear head, against which the worst change of hidden numbers is known.",
    effect="The margin of wrong targets is smaller by the step times the length of the difference of the weights.",
    control="With a length of 0 the margin stays.",
    breaks=("drop attack", "flip label_loss"),
)
def wrong_targets_are_the_nearest(seed: int) -> Found:
    """How much of the closed form's fall of the margin is there."""

    def measured(length: float) -> float:
        net, table, wrong, _ = moved(seed, Config(near=length))
        assert net.head is not None
        difference = net.head.weight.detach()[1] - net.head.weight.detach()[0]
        sign = 2.0 * batch(SIZE, 2, seed)["label"] - 1.0
        fall = sign * ((table - wrong) @ difference) / difference.norm()
        return float(fall.mean() / 0.5)

    return Found(effect=measured(0.5), predicted=near(1.0), control=measured(0.0), null=near(0.0))


@mechanism(
    world="The same table and head, whose projection learns for some steps.",
    effect="A wrong target that is near in hidden numbers is told from the right one: its cosine falls.",
    control="Contrast with the batch alone leaves the two alike.",
    breaks=("flip hard_pair_contrast", "drop hard_pair_contrast"),
)
def near_wrong_targets_are_told_apart(seed: int) -> Found:
    """How much lower the cosine of the projected source with the wrong target is than with its own."""

    def measured(pairs: Literal["hard", "batch"]) -> float:
        _, table, wrong, method = moved(seed, Config(near=1.0, pairs=pairs))
        rows = batch(SIZE, 2, seed)
        given = Batch({**rows, "source.row": rows["row"]})
        optimizer = torch.optim.Adam(method.projection.parameters(), lr=0.05)
        for _ in range(STEPS):
            optimizer.zero_grad()
            method.loss(given)["contrast"].mean().backward()
            optimizer.step()
        with torch.no_grad():
            own, other = (method.projection(one) for one in (table, wrong))
            return 1.0 - float(F.cosine_similarity(own, other).mean())

    return Found(effect=measured("hard"), predicted=above(0.2), control=measured("batch"), null=below(0.18))
