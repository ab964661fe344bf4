"""NetDistiller: Empowering Tiny Deep Learning via In-Situ Distillation (Zhang et al. 2023).

The tiny net consists of the leading channels of a net several times as wide, with shared weights. Both learn from the
labels, and the tiny net also from the wide net's predictions. Where the wide net's gradient conflicts with the tiny
net's, the conflicting component is projected out (gradient surgery). At the end the tiny net is extracted.

Departures: the paper also weighs the distillation by the wide net's uncertainty, by a rule that could not be read, so
that it is left out. Surgery leaves the tiny net's gradient unchanged, which PCGrad would project as well. Each net has
running statistics of its own in the normalisations.

Compared with no code: that of the authors (GATECH-EIC/NetDistiller) could not be read.

Formula:
`tests/methods/test_netdistiller.py::test_each_net_learns_and_conflicts_are_taken_out_of_the_wide_ones_gradient`.

On `mnist1d`, it is equivalent to a tuned `supervised` (-0.3 points, -0.9 to +0.4), better than `distill` by 1.6 (0.8 to
2.3), and better than itself without its mechanism ("shared weights alone") by 0.9 (0.0 to 1.7). Training takes 4.0
times the operations of the baseline.
"""

from dataclasses import dataclass

import torch

from didact.claiming import Claim
from didact.errors import check_range
from didact.learners import ModuleLearner, functional_forward, leading_weights, widen
from didact.losses.combining import attach_gradient, project_conflicts
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import distillation_loss
from didact.types import Batch, ExampleFeed, Logits, Method, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `netdistiller`."""

    expansion: int = 3  # ratio of the wide net's channels to the tiny net's
    weight: float = 1.0  # weight of the wide net's predictions, relative to the labels
    temperature: float = 1.0  # softens the probabilities of both
    surgery: bool = True  # project conflicts with the tiny net out of the wide net's gradient

    def __post_init__(self) -> None:
        check_range("expansion", self.expansion, at_least=2)
        check_range("weight", self.weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class NetDistiller(Method):
    """Train a tiny net inside a wide one.

    Args:
        config: the options.
        learner: the tiny net: linear layers, convolutions, embeddings and their normalisations in a chain.
        sample: a few examples, to see which layers run.
        seed: of the wide net's additional weights.
    """

    feed = ExampleFeed(coupled=True, alone="it compares the gradients of two nets over the whole batch")

    def __init__(self, config: Config, learner: ModuleLearner, sample: Batch, seed: int = 0) -> None:
        self.config, self.learner = config, learner
        self.wide = widen(learner, sample, config.expansion, seed=seed)

    def loss(self, batch: Batch) -> Terms:
        """`tiny`: labels and the wide net's predictions; `wide`: labels. Each carries its gradient after surgery."""
        tiny, wide = self.losses(batch)
        weights = [parameter for parameter in self.wide.parameters() if parameter.requires_grad]
        kept = torch.autograd.grad(tiny, weights, materialize_grads=True, allow_unused=True)
        added = torch.autograd.grad(wide, weights, materialize_grads=True, allow_unused=True)
        left = project_conflicts(added, kept) if self.config.surgery else added
        return Terms(
            tiny=Term(attach_gradient(tiny, weights, kept), 1.0),
            wide=Term(attach_gradient(wide, weights, left), 1.0),
        )

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The losses of the tiny and the wide net, scalars."""
        config, label = self.config, batch["label"]
        tiny = functional_forward(self.learner, leading_weights(self.wide, self.learner), batch).logits
        wide = self.wide(batch).logits
        distilled = distillation_loss(tiny, Logits(logits=wide.detach()), temperature=config.temperature).mean()
        own, theirs = (label_loss(logits, label, weight=batch.label_weight).mean() for logits in (tiny, wide))
        return own + config.weight * distilled, theirs

    @torch.no_grad()
    def after_step(self) -> None:
        """Copy the current tiny net out of the wide one."""
        shared = list(leading_weights(self.wide, self.learner).values())
        torch._foreach_copy_(list(self.learner.parameters()), shared)  # pyright: ignore[reportPrivateImportUsage]


CLAIM = Claim(
    statement="A tiny net that shares its weights with a wide one is more accurate than one that learns alone.",
    arms={
        "netdistiller": "netdistiller",
        "supervised": "supervised",
        "distill": {"method": "distill", "teacher": "mlp:96"},
        "shared weights alone": {"method": "netdistiller", "weight": 0.0, "surgery": False},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="netdistiller",
    baseline="supervised",
    cheap="distill",
    ablation="shared weights alone",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"test": 0.4, "steps": 400, "student": "mlp:32"},
    search={
        "netdistiller": {"temperature": (1.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="A net of 32 units inside one of 96, whose teaching and surgery are also left out.",
    omits="Deep tiny nets on large data; the weight by uncertainty.",
    systems=("netdistiller",),
)
