"""AutoDistil: Few-shot Task-agnostic Neural Architecture Search for Distilling Large Language Models (Xu et al. 2022).

The student is a supernet, whose parts are smaller transformers with shared weights. The space of these nets is divided
into compact sub-spaces, so that nets of very different sizes do not interfere. At each step the largest, the smallest
and some random nets of one sub-space learn, without labels, the teacher's relations between tokens in the queries, keys
and values of the last layer. The best net by this loss within a cost limit is fine-tuned on the labels. It is delivered
in the student's shape, with the other weights zero; `supernet.extract` makes it small.

Departures: only the sub-space that contains the limit is trained, since the others share nothing with it; nets differ
in depth, heads and feed-forward units, but not in width; training, the search on one batch, and fine-tuning share one
budget and one schedule; only didact's own transformers can be students. Compared with
run_wiki_plus_book_NoAssist_RndSampl.py of microsoft/autodistil (in Code/): the relations, in as many parts as the
teacher has heads, and the nets of a step agree. Its loss is the squared error of the scores before the softmax, summed
over the nets. Values and gradients:
`tests/methods/test_autodistil.py::test_all_nets_follow_the_relations_in_value_and_gradient`.

On `digits` with 200 labels, it is better than a tuned "all sizes" by 20.1 points (12.2 to 28.1), worse than
`supervised` by 10.0 (4.3 to 15.7), and better than itself without its mechanism ("alone") by 5.5 (2.2 to 8.9).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.learners import ModuleLearner, SubnetSize, SubSpace, Supernet, queries_tap, token_mask
from didact.losses.features.attention_relations import relation_kl, token_relations
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import target_features
from didact.types import Batch, ExampleFeed, Method, Term, Terms, is_labelled

KINDS = ("queries", "keys", "values")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `autodistil`."""

    max_cost: float = 0.25  # largest cost of the net, as a share of the student's
    subspaces: int = 2  # number of sub-spaces; 1 is a single supernet
    levels: int = 4  # number of choices of depth, heads and feed-forward units; at least subspaces
    sampled: int = 2  # random nets trained per step, besides the largest and the smallest
    distil_share: float = 0.6  # share of the budget for distillation without labels; fine-tuning gets the rest
    relation_heads: int = 4  # number of heads that queries, keys and values are split into for the relations
    teacher_tap: str = ""  # the teacher's layer of concatenated queries, keys and values; by default its last `qkv`

    def __post_init__(self) -> None:
        check_range("max_cost", self.max_cost, above=0.0, at_most=1.0)
        check_range("levels", self.levels, at_least=1)
        check_range("subspaces", self.subspaces, at_least=1, at_most=self.levels)
        check_range("sampled", self.sampled, at_least=0)
        check_range("distil_share", self.distil_share, at_least=0.0, at_most=1.0)
        check_range("relation_heads", self.relation_heads, at_least=1)


class AutoDistil(Method):
    """Distil relations between tokens into many nets with shared weights, then fine-tune the best affordable one.

    Args:
        config: the options.
        learner: the supernet, a transformer such as transformer:4x64.
        teacher: a transformer with features and the same tokens.
        sample: a few examples, to check that the relations can be compared.

    Raises:
        ConfigError: no built-in transformer, no net within the limit, or a teacher without a tap that can be compared.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: ModuleLearner, teacher: Any, sample: Batch) -> None:
        self.config, self.learner, self.teacher = config, learner, teacher
        self.space = SubSpace(Supernet(learner), levels=config.levels, parts=config.subspaces, limit=config.max_cost)
        self.tap = config.teacher_tap or queries_tap(teacher.candidates())
        teacher.tap(self.tap)
        theirs = self.relations(sample)
        for size in {one.heads: one for one in self.space.sizes}.values():
            self.divergences(size, sample, theirs)

    def relations(self, batch: Batch) -> list[Tensor]:
        """The teacher's relations of queries, keys and values."""
        return self.relations_of(target_features(self.teacher.signal(batch), self.tap), batch)

    def relations_of(self, shown: Tensor, batch: Batch) -> list[Tensor]:
        """Relations [B, R, T, T] of each third of a tap's features, [B, T, 3 D]."""
        return [token_relations(part, self.config.relation_heads, token_mask(batch)) for part in shown.chunk(3, -1)]

    def divergences(self, size: SubnetSize, batch: Batch, theirs: list[Tensor]) -> Terms:
        """The divergences of a net's relations from the teacher's: `queries`, `keys` and `values`."""
        net = self.space.supernet
        mine = self.relations_of(net.forward_subnet(size, batch).features[net.queries_tap(size)], batch)
        found = [relation_kl(own, other, token_mask(batch)) for own, other in zip(mine, theirs, strict=True)]
        return Terms(zip(KINDS, found, strict=True))

    def loss(self, batch: Batch) -> Terms:
        """First `queries`, `keys` and `values`, over all examples and nets; then `label`, for the best net."""
        if self.fraction >= self.config.distil_share:
            self.space.chosen = self.space.chosen or self.best_subnet(batch)
            logits = self.space.supernet.forward_subnet(self.space.chosen, batch).logits
            return Terms(label=label_loss(logits, batch["label"], weight=batch.label_weight))
        theirs = self.relations(batch)
        found = [self.divergences(size, batch, theirs) for size in self.space.sample(self.config.sampled)]
        sums = {kind: torch.stack([terms[kind].sum for terms in found]).sum() for kind in KINDS}
        return Terms({kind: Term(total, batch.size * len(found)) for kind, total in sums.items()})

    @torch.no_grad()
    def best_subnet(self, batch: Batch) -> SubnetSize:
        """The net within the limit with relations nearest to the teacher's; searched once per run."""
        theirs, affordable = self.relations(batch), self.space.affordable
        found = [self.divergences(size, batch, theirs).total() for size in affordable]
        return affordable[int(torch.stack(found).argmin())]

    def after_step(self) -> None:
        """Set the student's weights outside the chosen net to zero."""
        if self.space.chosen is not None:
            self.space.supernet.prune_to(self.space.chosen)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for each trained net, the labelled ones for the labels."""
        nets = min(len(self.space.sizes), 2 + self.config.sampled)
        return {**dict.fromkeys(KINDS, batch.size * nets), "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A net within a limit of cost is better when found in a supernet of its own sub-space than of all sizes.",
    arms={
        "autodistil": {"method": "autodistil", "sampled": 0, "batch_size": 62, "schedule": "constant"},
        "all sizes": {"method": "autodistil", "sampled": 0, "batch_size": 26, "subspaces": 1, "schedule": "constant"},
        "supervised": {"method": "supervised", "student": "transformer:2x22", "lr": 0.005},
        "alone": {"method": "autodistil", "sampled": 0, "batch_size": 62, "distil_share": 0.0, "schedule": "constant"},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="autodistil",
    baseline="all sizes",
    cheap="supervised",
    ablation="alone",
    untaught="untaught",
    smallest_effect=0.02,
    settings={"labels": 200, "steps": 200, "student": "transformer:4x32", "teacher": "transformer:2x32"},
    search={"autodistil": {"lr": (0.002, 0.005, 0.01)}, "all sizes": {"lr": (0.002, 0.005, 0.01)}},
    equal="flops",
    tuned_on=(0, 1, 2),
    seeds=(420, 421, 422, 423, 424, 425, 426, 427, 428, 429),
    shows="A compact sub-space against the whole, with the small batches of its largest net; a small net on labels.",
    omits="Language models, long training without labels, other widths, and several limits of cost.",
    systems=("autodistil",),
)
