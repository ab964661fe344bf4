"""The mechanism of `autodistil`."""

import torch
from torch import nn

from didact.learners import ModuleLearner, SubnetSize, Supernet
from didact.learners.nets import Encoder, MaskedMean
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal
from didact.methods.distillation.autodistil import AutoDistil, Config
from didact.teachers import FrozenTeacher
from didact.types import Batch

N, T, D, C = 4, 4, 16, 3
DEPTH = 2


def net(seed: int) -> ModuleLearner:
    """A transformer of two blocks on given tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = nn.Sequential(nn.Unflatten(1, (T, D)), Encoder(DEPTH, D, T), MaskedMean(), nn.Linear(D, C))
        for weight in parts.parameters():
            nn.init.normal_(weight, std=0.3)
    return ModuleLearner(parts)


def search(seed: int, teacher: ModuleLearner, rows: Batch) -> AutoDistil:
    """The method with a supernet of all sizes, of which every one is affordable."""
    config = Config(max_cost=1.0, subspaces=1, levels=2, relation_heads=2)
    return AutoDistil(config, net(seed), FrozenTeacher(teacher), rows)


@mechanism(
    world="A supernet, and teachers that are cut out of it.",
    effect="The search by relations of tokens finds the very net that the teacher is, of those with both blocks: the "
    "units of the last block do not show.",
    control="The teachers are cut out of another supernet.",
    breaks=("flip relation_kl", "drop relation_kl", "shuffle relation_kl"),
)
def the_search_finds_the_net_that_teaches(seed: int) -> Found:
    """The share of the nets that are found."""
    rows = batch(N, C, seed, x=normal(N, T * D, seed=seed))

    def found(size: SubnetSize, origin: int) -> bool:
        return search(seed, Supernet(net(origin)).extract(size), rows).best_subnet(rows) == size

    def measured(origin: int) -> float:
        sizes = [size for size in search(seed, net(origin), rows).space.affordable if size.depth == DEPTH]
        return sum(found(size, origin) for size in sizes) / len(sizes)

    return Found(effect=measured(seed), predicted=near(1.0), control=measured(seed + 50), null=(0.0, 0.5))
