"""Contextual Self-paced Learning for Weakly Supervised Video Grounding, CoSPaL (Kumar, Kira & Rawat 2025).

A label of a whole scene says little where there is much to choose from. Bags with few candidates are learned first, in
stages that take in more and more crowded ones. A candidate is an instance that is not all zeros.

Departures: this is the self-paced part alone, on labels of bags, without videos, queries and their parts. It is
inferred from the abstract and from summaries, as neither code nor formulas were at hand: stages are of equal length,
each takes in as many bags as any other, and all are there from the middle of the run on.

Compared with no code, which was not found.

Formula: `tests/methods/test_paced_bags.py::test_each_stage_takes_in_the_bags_of_fewest_candidates`.

On `planted:evidence`, it is equivalent to a tuned `attention_pool` (-0.7 points, -1.2 to -0.2), better than "all
evidence" by 9.7 (9.1 to 10.3), and equivalent to itself without its mechanism ("any first") (-0.2, -0.8 to +0.3).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.curricula import Among
from didact.errors import ConfigError, check_choice, check_range
from didact.learners import ModuleLearner
from didact.learners.bags import bag_of
from didact.losses.labels.supervised import label_loss
from didact.types import Batch, Buffer, ExampleFeed, Examples, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `paced_bags`."""

    first: Literal["few", "many", "random"] = "few"  # which bags come first: those of few or many candidates, or any
    stages: int = 3  # each takes in as many bags more
    paced: float = 0.5  # share of the budget from which on all bags are there

    def __post_init__(self) -> None:
        check_choice("first", self.first, ("few", "many", "random"))
        check_range("stages", self.stages, at_least=1)
        check_range("paced", self.paced, at_least=0.0, at_most=1.0)


class PacedBags(Method):
    """Learns the labels of bags, those of few candidates first.

    Args:
        config: the options.
        learner: a net over bags that weighs instances.
        examples: all training bags.
        seed: of the order of bags with as many candidates, and of the batches.

    Raises:
        ConfigError: the learner is no such net, or all bags have as many candidates.
    """

    feed = ExampleFeed(tasks=("classification", "regression"), chooses=True)

    def __init__(self, config: Config, learner: ModuleLearner, examples: Examples, seed: int = 0) -> None:
        bag_of(learner, "paced_bags")
        counts = examples.tensors["x"].flatten(2).ne(0.0).any(2).sum(1)
        if int(counts.min()) == int(counts.max()):
            raise ConfigError(
                f"All {examples.size} bags have {int(counts[0])} candidates, so that none is easier than another; fill "
                "smaller bags up with zeros, or take attention_pool."
            )
        shuffled = torch.randperm(len(counts), generator=torch.Generator().manual_seed(seed))
        sign = {"few": 1, "many": -1, "random": 0}[config.first]
        self.config, self.learner, self.stage = config, learner, Buffer(0)
        self.order = shuffled[(sign * counts[shuffled]).argsort(stable=True)]
        self.curriculum = Among(examples.size, seed)
        self.curriculum.only(self.rows())

    def rows(self) -> Tensor:
        """The bags of the present stage, int64 [K]."""
        return self.order[: -(-len(self.order) * (self.stage.value + 1) // self.config.stages)]

    def loss(self, batch: Batch) -> Terms:
        """`label` over the bags."""
        return Terms(label=label_loss(self.learner(batch).logits, batch["label"], weight=batch.label_weight))

    def after_step(self) -> None:
        """Take in more bags where a stage begins."""
        config = self.config
        part = min(self.fraction / config.paced, 1.0) if config.paced else 1.0
        stage = int(part * (config.stages - 1))
        if stage > self.stage.value:
            self.stage.value = stage
            self.curriculum.only(self.rows())

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled bags."""
        return {"label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="Bags of few candidates first, and crowded ones later, make a net more accurate than all at once.",
    arms={
        "paced_bags": "paced_bags",
        "attention_pool": "attention_pool",
        "all evidence": {"method": "attention_pool", "student": "query_bag:entailment:mlp:64"},
        "any first": {"method": "paced_bags", "first": "random"},
        "untaught": {"method": "attention_pool", "lr": 1e-9},
    },
    method="paced_bags",
    baseline="attention_pool",
    cheap="all evidence",
    ablation="any first",
    untaught="untaught",
    world="planted:evidence",
    smallest_effect=0.02,
    settings={"test": 0.3, "steps": 200, "student": "query_bag:relevance:mlp:64"},
    search={
        "paced_bags": {"lr": (0.003, 0.01)},
        "attention_pool": {"lr": (0.003, 0.01)},
        "all evidence": {"lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(720, 721, 722, 723, 724, 725, 726, 727, 728, 729, 730, 731),
    shows="The order by the number of candidates, from one to eight, of which one or two answer a question.",
    omits="Videos, detectors, queries in words and where in time and space an answer is, and the paper's other parts.",
    systems=("contextual-self-paced-learning-for-weakly-superv",),
)
