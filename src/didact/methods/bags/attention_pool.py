"""Attention-based Deep Multiple Instance Learning (Ilse, Tomczak & Welling 2018).

A bag of instances has one label. Each instance is encoded, a small net scores it, and the softmax of the scores over
the bag weighs the instances' vectors, whose weighted sum is classified. The attention shows which instances decided.
The net is the student's: `--student bag:attention:mlp:64`, or `bag:gated:mlp:64` with the gate of equation 9.

With `entropy`, the negative entropy of the attention is added to the loss, so that it spreads over more instances:
AEM (Zhang et al. 2024).

Departures: a softmax over classes where the authors have one sigmoid; several bags of one size a step where they have
one bag; any net encodes the instances, theirs has two convolutions and 500 units.

Compared with model.py of AMLab-Amsterdam/AttentionDeepMIL (attention, 128 hidden units) and main.py of dazhangyu123/AEM
(the entropy of a bag, weight 0.1): attention, pooling and entropy agree:
`tests/methods/test_bags.py::test_attention_pools_as_the_authors_code`.

On `digits:bags`, it is better than a tuned "largest" by 2.9 points (2.2 to 3.5), better than "side by side" by 27.2
(26.3 to 28.2), and better than itself without its mechanism ("mean") by 10.0 (8.9 to 11.0). Training takes 4.0 times
the operations of the baseline.
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.learners import ModuleLearner
from didact.learners.bags import bag_of
from didact.losses.features.pooling import attention_entropy
from didact.losses.labels.supervised import label_loss
from didact.types import Batch, ExampleFeed, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `attention_pool`."""

    entropy: float = 0.0  # weight of the negative entropy of the attention; 0.1 in AEM

    def __post_init__(self) -> None:
        check_range("entropy", self.entropy, at_least=0.0)


class AttentionPool(Method):
    """Learns the labels of bags, whose instances attention weighs.

    Args:
        config: the options.
        learner: a net over bags that weighs instances.

    Raises:
        ConfigError: the learner is no such net.
    """

    feed = ExampleFeed(tasks=("classification", "regression"))

    def __init__(self, config: Config, learner: ModuleLearner) -> None:
        bag_of(learner, "attention_pool")
        self.config = config
        self.learner = learner
        learner.tap("attention")

    def loss(self, batch: Batch) -> Terms:
        """`label` over the labelled bags; with a weight, `entropy` over all of them."""
        output = self.learner(batch)
        terms = Terms(label=label_loss(output.logits, batch["label"], weight=batch.label_weight))
        if self.config.entropy:
            terms["entropy"] = attention_entropy(output.features["attention"]).times(self.config.entropy)
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled bags for the labels, all of them for the entropy."""
        entropy = {"entropy": batch.size} if self.config.entropy else {}
        return {"label": is_labelled(batch["label"]).sum(), **entropy}


CLAIM = Claim(
    statement="Weighing the instances of a bag by attention is more accurate than taking the largest numbers.",
    arms={
        "attention_pool": "attention_pool",
        "largest": {"method": "supervised", "student": "bag:max:mlp:64"},
        "side by side": {"method": "supervised", "student": "mlp:64"},
        "mean": {"method": "attention_pool", "student": "bag:mean:mlp:64"},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="attention_pool",
    baseline="largest",
    cheap="side by side",
    ablation="mean",
    untaught="untaught",
    world="digits:bags",
    smallest_effect=0.02,
    settings={"test": 0.3, "steps": 300, "student": "bag:attention:mlp:64"},
    search={
        "attention_pool": {"lr": (0.001, 0.003, 0.01)},
        "largest": {"lr": (0.001, 0.003, 0.01)},
        "side by side": {"lr": (0.001, 0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111),
    shows="Bags of seven small digits, positive with a 9; the mean is the method without attention.",
    omits="Bags of many instances and of several sizes, photographs and slides.",
)
