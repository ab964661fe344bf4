"""The mechanism of `active`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.active.active import Active, Config
from didact.sources import LabelPool
from didact.types import IGNORE
from didact.worlds.planted.pool import expected_clusters, pool

LABELS = 50
"""As many as there are clusters."""


@mechanism(
    world="A pool of near-duplicates in 50 clusters, one of which has a label, and a student that sees the inputs.",
    effect="49 labels that are asked for by k-center are of the 49 other clusters.",
    control="The student sees the inputs of other examples: as many clusters as labels at random would have.",
    breaks=("drop outputs_of",),
)
def a_label_for_each_cluster(seed: int) -> Found:
    """How many clusters have a label."""
    examples, generator = pool(), torch.Generator().manual_seed(seed)
    answers, clusters = examples.tensors["label"], examples.tensors["cluster"]

    def measured(x: Tensor) -> float:
        first = torch.full_like(answers, IGNORE).index_copy(0, torch.tensor([seed]), answers[seed : seed + 1])
        asked = LabelPool(examples.with_tensors(x=x, label=first), answers, batch_size=LABELS)
        asked.round = 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            learner = ModuleLearner(nn.Linear(x.shape[1], len(examples.classes)))
        config = Config(ask="kcenter", query=LABELS - 1, round_steps=1)
        Active(config, learner, lambda: learner, seed).collect(torch.arange(0), asked)
        return float(clusters[asked.known].unique().numel())

    x = examples.tensors["x"]
    expected = expected_clusters(clusters.bincount(), LABELS)
    return Found(
        effect=measured(x),
        predicted=near(float(LABELS)),
        control=measured(x[torch.randperm(len(x), generator=generator)]),
        null=(expected - 3.0, expected + 3.0),
    )
