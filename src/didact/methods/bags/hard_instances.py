"""Multiple Instance Learning with Masked Hard Instance Mining, MHIM-MIL (Tang et al. 2023).

Attention settles on the easiest instances of a bag. The exponential moving average of the student reads the whole bag,
and what it attends to most is hidden from the student, which has to find the label in the harder instances. The share
that is hidden falls to none along a cosine. The student's vector of the bag is also held to the average's: the cross
entropy of their softmax, that of the average at a low temperature. The student is delivered.

Departures: each of the most attended instances is hidden with a chance, where the authors hide an exact number of them,
rounded up, and shares are rounded, so that a bag of seven can lose none; the average starts from the student's weights,
not from those of a net trained before, and its decay is for short runs; the least attended are not hidden.

Compared with modules/mhim.py and main.py of DearCaat/MHIM-MIL: which instances are hidden, the consistency, its weight
of 0.1 and its temperature of 0.1 agree: `tests/methods/test_bags.py::test_hard_instances_learn_from_what_is_left`.

On `digits:bags` with 300 labels, it is worse than a tuned `attention_pool` by 3.2 points (2.1 to 4.3), better than
"largest" by 1.1 (0.0 to 2.2), and undecided against itself without its mechanism ("nothing hidden") (-0.9, -2.1 to
+0.4). Training takes 1.6 times the operations of the baseline.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.learners import ModuleLearner
from didact.learners.bags import bag_of, keep_hard
from didact.losses.classes.divergence import forward_kl
from didact.losses.labels.supervised import label_loss
from didact.teachers import EmaTeacher
from didact.types import Batch, ExampleFeed, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `hard_instances`."""

    easy: float = 0.15  # share of a bag's instances, the most attended, that is hidden at first
    chance: float = 0.5  # of each of these to be hidden; that many more are drawn from
    random: float = 0.0  # share that is hidden at random besides
    consistency: float = 0.1  # weight of the term that holds the bag's vector to the average's
    temperature: float = 0.1  # of the average's vector in that term
    ema_decay: float = 0.99  # decay of the exponential moving average

    def __post_init__(self) -> None:
        check_range("easy", self.easy, at_least=0.0, below=1.0)
        check_range("chance", self.chance, above=0.0, at_most=1.0)
        check_range("random", self.random, at_least=0.0, below=1.0)
        check_range("consistency", self.consistency, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)


class HardInstances(Method):
    """Learns the labels of bags without the instances that the average of the student finds easiest.

    Args:
        config: the options.
        learner: a net over bags that weighs instances.

    Raises:
        ConfigError: the learner is no such net.
    """

    feed = ExampleFeed()

    def __init__(self, config: Config, learner: ModuleLearner) -> None:
        bag_of(learner, "hard_instances")
        self.config = config
        self.learner = learner
        self.teacher = EmaTeacher(learner, decay=config.ema_decay)

    def loss(self, batch: Batch) -> Terms:
        """`label` from the instances that are left, and `consistency` with the average on whole bags."""
        net, x = bag_of(self.learner, "hard_instances"), batch["x"]
        kept, whole = self.look(x)
        vector = net.pool(net.encode(x), kept)
        target = (whole / self.config.temperature).log_softmax(-1)
        return Terms(
            label=label_loss(net.head(vector), batch["label"], weight=batch.label_weight),
            consistency=forward_kl(vector, target).times(self.config.consistency),
        )

    @torch.no_grad()
    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The instances that the student sees, bool [B, K], and the average's vectors of whole bags, float [B, D]."""
        teacher = bag_of(self.teacher.learner, "hard_instances")
        hidden = teacher.encode(x)
        share = self.config.easy * (1.0 + math.cos(math.pi * min(self.fraction, 1.0))) / 2.0
        kept = keep_hard(teacher.attend(hidden), share, self.config.chance, self.config.random)
        return kept, teacher.pool(hidden)

    def after_step(self) -> None:
        """Update the average."""
        self.teacher.update(self.learner)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled bags for the labels, all of them for the consistency."""
        return {"label": is_labelled(batch["label"]).sum(), "consistency": batch.size}


CLAIM = Claim(
    statement="Hiding what the average of a net attends to most makes the net more accurate on bags.",
    arms={
        "hard_instances": "hard_instances",
        "attention_pool": "attention_pool",
        "largest": {"method": "supervised", "student": "bag:max:mlp:64"},
        "nothing hidden": {"method": "hard_instances", "easy": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="hard_instances",
    baseline="attention_pool",
    cheap="largest",
    ablation="nothing hidden",
    untaught="untaught",
    world="digits:bags",
    smallest_effect=0.02,
    settings={"test": 0.3, "steps": 200, "labels": 300, "student": "bag:attention:mlp:64"},
    search={
        "hard_instances": {"lr": (0.001, 0.003, 0.01)},
        "attention_pool": {"lr": (0.001, 0.003, 0.01)},
        "largest": {"lr": (0.001, 0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111),
    shows="Bags of seven digits, most of which have a single 9: what is hidden is often all that there is to find.",
    omits="Slides with thousands of instances, of which many are positive; nets that are trained before.",
    systems=("multiple-instance-learning-framework-with-masked-2",),
)
