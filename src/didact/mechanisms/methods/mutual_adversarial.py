"""The mechanism of `mutual_adversarial`."""

import torch
from torch import nn
from torch.nn import functional as F

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import coefficient, normal
from didact.methods.noisy_labels.mutual_adversarial import Config, MutualAdversarial
from didact.types import Batch, Terms

SIZE, NUMBERS = 24, 5
RADIUS = 0.2


def _batch(seed: int) -> Batch:
    label = torch.arange(SIZE) % 2
    return Batch({"x": normal(SIZE, NUMBERS, seed=seed), "label": label, "id": torch.arange(SIZE)})


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> ModuleLearner:
    net = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        net.weight.copy_(weight)
        net.bias.copy_(bias)
    return ModuleLearner(net)


@mechanism(
    world="Linear students of two classes, against which the best attack moves every number by the whole radius.",
    effect="A label is learned at a margin that is smaller by the radius times the sum of the weights' sizes.",
    control="With a radius of 0 the margin is that of the clean examples.",
    breaks=("bypass attack", "drop attack", "flip label_loss"),
)
def labels_are_learned_at_the_worst_point_in_the_cube(seed: int) -> Found:
    """How much of the closed form's rise of the loss is there."""
    batch, weight = _batch(seed), normal(2, NUMBERS, seed=seed + 10)
    difference = weight[1] - weight[0]
    margin = (batch["x"] @ difference) * (2.0 * batch["label"] - 1.0)
    clean, worst = (F.softplus(-(margin - cut)).mean() for cut in (0.0, RADIUS * difference.abs().sum()))

    def measured(radius: float) -> float:
        config = Config(radius=radius, attack_steps=4)
        nets = [_linear(weight, torch.zeros(2)) for _ in range(2)]
        method = MutualAdversarial(config, nets[0], lambda _spec: nets[1], batch)
        with torch.no_grad():
            return float((method.loss(batch)["label_0"].mean() - clean) / (worst - clean))

    return Found(effect=measured(RADIUS), predicted=near(1.0), control=measured(0.0), null=near(0.0))


@mechanism(
    world="Two students that say the same of every input, each something else.",
    effect="A student moves towards its peer: the gradient of its scores is p - q, the difference of probabilities.",
    control="A peer that says the same does not move it.",
    breaks=("flip distillation_loss", "drop distillation_loss"),
)
def students_move_towards_each_other_under_attack(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    batch, biases = _batch(seed), normal(2, 2, seed=seed + 20)
    none = torch.zeros(2, NUMBERS)
    closed = biases[0].softmax(0) - biases[1].softmax(0)

    def measured(other: torch.Tensor) -> float:
        first, peer = _linear(none, biases[0]), _linear(none, other)
        terms = MutualAdversarial(Config(), first, lambda _spec: peer, batch).loss(batch)
        pull = Terms({name: terms[name] for name in ("peer_0_1_0", "peer_0_1_1")}).total()
        (found,) = torch.autograd.grad(pull, [first.get_parameter("module.bias")])
        return coefficient(found, closed)

    return Found(effect=measured(biases[1]), predicted=near(1.0), control=measured(biases[0]), null=near(0.0))
