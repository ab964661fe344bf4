"""The mechanism of `transport_pool`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.learners.bag_transport import TransportBag, transport_bag_net
from didact.learners.bags import bag_net
from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.methods.attention_pool import BAGS, INSTANCES, NUMBERS, bags
from didact.mechanisms.world import normal
from didact.methods.bags.transport_pool import Config, TransportPool
from didact.types import Batch

STEPS = 40


@mechanism(
    world="Bags of five vectors; those of the one class have a witness, which stands out.",
    effect="From the labels of bags alone, the net learns to tell the two classes apart.",
    control="Each bag has the label of another.",
    breaks=("flip label_loss", "drop label_loss"),
)
def prototypes_tell_bags_apart(seed: int) -> Found:
    """The accuracy on all bags after some steps."""
    batch, _ = bags(seed)

    def measured(order: Tensor) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            instance = ModuleLearner(nn.Sequential(nn.Linear(NUMBERS, 8), nn.ReLU(), nn.Linear(8, 2)))
            learner = transport_bag_net(bag_net(instance, "mean"), 4)
        method = TransportPool(Config(ramp=0.0), learner)
        optimizer = torch.optim.Adam(learner.parameters(), lr=0.05)
        for _ in range(STEPS):
            optimizer.zero_grad()
            method.loss(Batch({**batch, "label": batch["label"][order]})).total().backward()
            optimizer.step()
        return float((learner(batch).logits.argmax(1) == batch["label"]).double().mean())

    other = torch.randperm(BAGS, generator=torch.Generator().manual_seed(seed))
    return Found(effect=measured(torch.arange(BAGS)), predicted=above(0.85), control=measured(other), null=(0.25, 0.75))


@mechanism(
    world="Bags of five vectors, of which one lies at a prototype and the others far from both.",
    effect="At first the loss depends on the instance at the prototype alone.",
    control="Where all of the mass is moved, the five count the same.",
    breaks=("drop label_loss",),
)
def the_nearest_instance_counts_first(seed: int) -> Found:
    """The share of that instance in the length of the gradient with respect to the vectors of a bag."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = transport_bag_net(bag_net(ModuleLearner(nn.Linear(NUMBERS, 2)), "mean"), 2)
    net = learner.module
    assert isinstance(net, TransportBag)
    with torch.no_grad():
        net.prototypes.copy_(torch.tensor([[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]))
        net.weights.weight.fill_(1.0)
    x = 6.0 + 0.3 * normal(BAGS, INSTANCES, NUMBERS, seed=seed)
    x[..., 0] = 0.0
    x[:, 0] = net.prototypes.detach()[torch.arange(BAGS) % 2]
    label = torch.arange(BAGS) // 2 % 2

    def measured(fraction: float) -> float:
        method = TransportPool(Config(), learner)
        method.fraction = fraction
        given = x.clone().requires_grad_()
        loss = method.loss(Batch({"x": given, "label": label, "id": torch.arange(BAGS)}))
        (slope,) = torch.autograd.grad(loss.total(), [given])
        lengths = slope.norm(dim=2)
        return float((lengths[:, 0] / lengths.sum(1)).mean())

    return Found(effect=measured(0.0), predicted=above(0.6), control=measured(1.0), null=near(0.2, 0.05))
