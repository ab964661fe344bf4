"""The mechanism of `latent_adversarial`."""

import torch
from torch.nn import functional as F

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal, student
from didact.methods.noisy_labels.latent_adversarial import Config, LatentAdversarial

SIZE, NUMBERS, STEPS = 24, 6, 40


def _net(table: torch.Tensor, weight: torch.Tensor) -> ModuleLearner:
    """A student whose hidden states are a table that stays as it is, with these weights of its head."""
    net = student(table, len(weight))
    assert net.head is not None
    with torch.no_grad():
        net.head.weight.copy_(weight)
        net.head.bias.zero_()
    net.get_parameter("module.table").requires_grad_(False)
    return net


@mechanism(
    world="Two classes and a linear head, against which the worst change of hidden numbers is known.",
    effect="A label is learned at a margin that is smaller by the radius times the length of the weights' difference.",
    control="With a radius of 0 the margin is that of the clean examples.",
    breaks=("drop attack", "flip label_loss"),
)
def labels_are_learned_at_the_worst_hidden_point(seed: int) -> Found:
    """How much of the closed form's rise of the loss is there."""
    rows, table, weight = batch(SIZE, 2, seed), normal(SIZE, NUMBERS, seed=seed), normal(2, NUMBERS, seed=seed + 10)
    difference = weight[1] - weight[0]
    margin = (table @ difference) * (2.0 * rows["label"] - 1.0)
    clean, worst = (F.softplus(-(margin - cut)).mean() for cut in (0.0, 0.5 * difference.norm()))

    def measured(radius: float) -> float:
        method = LatentAdversarial(Config(radius=radius), _net(table, weight), rows)
        with torch.no_grad():
            return float((method.loss(rows)["label"].mean() - clean) / (worst - clean))

    return Found(effect=measured(0.5), predicted=near(1.0), control=measured(0.0), null=near(0.0))


@mechanism(
    world="A head with a backdoor: a hidden number that is 0 in all data makes every example of the second class.",
    effect="After some steps on clean data, the trigger that nobody showed works no more.",
    control="Without perturbation nothing in the data tells of the backdoor, and it stays.",
    breaks=("drop attack",),
)
def a_backdoor_goes_that_no_example_shows(seed: int) -> Found:
    """The share of the first class that the trigger turns into the second."""
    rows = batch(SIZE, 2, seed)
    table = normal(SIZE, NUMBERS, seed=seed)
    table[:, 0], table[:, -1] = 2.0 * rows["label"] - 1.0, 0.0
    weight = torch.zeros(2, NUMBERS)
    weight[1, 0], weight[1, -1] = 4.0, 12.0
    trigger = F.one_hot(torch.tensor(NUMBERS - 1), NUMBERS).float()

    def measured(radius: float) -> float:
        net = _net(table, weight)
        method = LatentAdversarial(Config(toward="class", bad_class=1, radius=radius), net, rows)
        assert net.head is not None
        optimizer = torch.optim.SGD(net.head.parameters(), lr=0.5)
        for _ in range(STEPS):
            optimizer.zero_grad()
            method.loss(rows).total().backward()
            optimizer.step()
        said = net.head(table[rows["label"] == 0] + trigger).argmax(1)
        return float(said.double().mean())

    return Found(effect=measured(1.0), predicted=(0.0, 0.1), control=measured(0.0), null=near(1.0))
