"""The mechanism of `attention_pool`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.learners.bags import bag_net
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import normal
from didact.methods.bags.attention_pool import AttentionPool, Config
from didact.types import Batch

BAGS, INSTANCES, NUMBERS, STEPS = 96, 5, 4, 30


def bags(seed: int) -> tuple[Batch, Tensor]:
    """Bags of noise, half of them with one witness that stands out; and where the witness is, bool [B, K]."""
    x = normal(BAGS, INSTANCES, NUMBERS, seed=seed)
    label = torch.arange(BAGS) % 2
    place = torch.arange(BAGS) % INSTANCES
    witness = (torch.arange(INSTANCES) == place[:, None]) & (label[:, None] == 1)
    x = x + 3.0 * witness[..., None] * torch.tensor([1.0, -1.0, 1.0, 0.0])
    return Batch({"x": x, "label": label, "id": torch.arange(BAGS)}), witness


def trained(batch: Batch, seed: int, pooling: str, entropy: float = 0.0) -> ModuleLearner:
    """A net after some steps on all bags."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        instance = ModuleLearner(nn.Sequential(nn.Linear(NUMBERS, 8), nn.ReLU(), nn.Linear(8, 2)))
        learner = bag_net(instance, pooling)
    method = AttentionPool(Config(entropy=entropy), learner)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.02)
    for _ in range(STEPS):
        optimizer.zero_grad()
        method.loss(batch).total().backward()
        optimizer.step()
    return learner


def attention(batch: Batch, seed: int, pooling: str, entropy: float = 0.0) -> Tensor:
    """The attention of such a net, float [B, K]."""
    return trained(batch, seed, pooling, entropy)(batch).features["attention"].detach()


@mechanism(
    world="Bags of five vectors; those of the one class have a witness, which stands out.",
    effect="From the labels of bags alone, the attention finds the witness.",
    control="The mean gives every instance the same weight.",
    breaks=("flip label_loss", "drop label_loss"),
)
def attention_finds_the_witness(seed: int) -> Found:
    """The attention on the witness, averaged over the bags that have one."""
    batch, witness = bags(seed)

    def measured(pooling: str) -> float:
        return float(attention(batch, seed, pooling)[witness].mean())

    return Found(effect=measured("attention"), predicted=(0.8, 1.0), control=measured("mean"), null=near(0.2))


@mechanism(
    world="The same bags.",
    effect="A large weight of the entropy spreads the attention over the bag: its entropy is close to log K.",
    control="Without it, the attention on a witness is concentrated.",
    breaks=("flip attention_entropy", "drop attention_entropy"),
)
def the_entropy_spreads_the_attention(seed: int) -> Found:
    """The entropy of the attention of bags with a witness, as a share of log K."""
    batch, witness = bags(seed)

    def measured(entropy: float) -> float:
        found = attention(batch, seed, "attention", entropy)[witness.any(1)]
        return float(torch.special.entr(found).sum(1).mean() / torch.tensor(float(INSTANCES)).log())

    return Found(effect=measured(10.0), predicted=(0.95, 1.0), control=measured(0.0), null=(0.0, 0.6))
