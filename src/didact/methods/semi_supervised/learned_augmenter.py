"""MCLRec: meta-optimised contrastive learning (Qin, Yuan, Zhao, Fang, Zhuang, Liu, Liu & Sheng 2023).

Beside the labels, a net contrasts views of each example: two that are augmented by hand, and one that a small augmenter
makes of the representation of either. The augmenters learn through the net's next step: it is taken on trial, and they
lower the contrast that the net then has, without making views of one example more alike than needed.

Departures: classes in the place of the next item of a sequence; similarities are cosines over a temperature, not inner
products; augmenters have one hidden layer, not two; the trial step is one of plain gradient descent, where the authors
take one of the optimizer and then another with the new augmenters.

Compared with recbole/trainer/trainer.py and recbole/model/sequential_recommender/mclrec.py of QinHsiu/MCLRec: the three
pairs of views, the regulariser, its weight of 0.1 and the order of updates agree. No gradient flows through the step,
there as here. Values: `tests/methods/test_learned_augmenter.py::test_the_augmenters_learn_at_the_weights_ahead`.

On `emissions:words` with 100 labels, it is undecided against a tuned "views by hand" (+1.0 points, -0.6 to +2.7),
undecided against `supervised` (+3.4, -2.0 to +8.8), and better than itself without its mechanism ("augmenters as they
began") by 0.9 (0.0 to 1.8). Training takes 2.3 times the operations of the baseline.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import ModuleLearner, functional_forward, projector, step_ahead, trained_weights
from didact.losses.labels.supervised import label_loss
from didact.losses.pairs.views import nt_xent, too_alike
from didact.types import Batch, ExampleFeed, Group, Method, Terms

_PAIRS = ((0, 3), (1, 2), (2, 3))
"""What is contrasted, of the views by hand (0 and 1) and those that are made of them (2 and 3)."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `learned_augmenter`."""

    contrast: float = 0.1  # weight of the contrast of both views by hand
    learned: float = 0.01  # weight, for the student, of the contrasts with views that augmenters make
    apart: float = 0.1  # share of those contrasts for views that are too alike
    temperature: float = 0.5  # of the similarities
    rate: float = 0.01  # length of the trial step; with 0 the augmenters learn at the present weights
    meta: float = 1.0  # weight of the augmenters' loss; with 0 they stay as they began
    width: int = 16  # of the augmenters' hidden layer

    def __post_init__(self) -> None:
        for name in ("contrast", "learned", "apart", "rate", "meta"):
            check_range(name, getattr(self, name), at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)
        check_range("width", self.width, at_least=1)


class LearnedAugmenter(Method):
    """Contrast views by hand with views that augmenters make, which learn through the student's next step.

    Args:
        config: the options.
        learner: the student, with a linear head, whose input is the representation.
        seed: of the augmenters' weights.

    Raises:
        ConfigError: the student has no linear head.
    """

    feed = ExampleFeed(
        unlabelled=True,
        labelled_share=0.25,
        views={"first": "strong", "second": "strong"},
        least_batch=2,
        coupled=True,
        alone="its trial step is that of the whole batch",
    )

    def __init__(self, config: Config, learner: ModuleLearner, seed: int = 0) -> None:
        if learner.head is None:
            raise ConfigError("The student has no linear head, of whose input learned_augmenter makes views.")
        self.config, self.learner, width = config, learner, learner.head.in_features
        maps = [((width,), (config.width,)), ((config.width,), (width,))] * 2
        made = [projector(*shapes, seed=seed + number) for number, shapes in enumerate(maps)]
        self.augmenters = nn.ModuleList(nn.Sequential(made[i], nn.GELU(), made[i + 1]) for i in (0, 2))

    def groups(self) -> Mapping[str, Group]:
        """The student, and the augmenters."""
        return {"student": Group(self.learner), "augmenters": Group(self.augmenters)}

    def loss(self, batch: Batch) -> Terms:
        """`label`, `contrast` and `learned` of the student; `augmenters`, at the student's weights ahead."""
        config, weights = self.config, trained_weights(self.learner)
        first, second = self.hidden(batch, weights)
        terms = Terms(
            label=label_loss(self.learner(batch).logits, batch["label"], weight=batch.label_weight),
            contrast=nt_xent(first, second, temperature=config.temperature).times(config.contrast),
            **self.contrasts("learned", first, second, config.learned),
        )
        found = {name: term.for_group("student") for name, term in terms.items()}
        if config.meta:
            ahead = step_ahead(weights, terms.total(), rate=config.rate, retain_graph=True)
            with torch.no_grad():
                first, second = self.hidden(batch, ahead)
            told = self.contrasts("augmenters", first, second, config.meta)
            found |= {name: term.for_group("augmenters") for name, term in told.items()}
        return Terms(found)

    def hidden(self, batch: Batch, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """The representations of both views by hand, [B, D], under weights."""
        found = (functional_forward(self.learner, weights, batch.view(name)).hidden for name in ("first", "second"))
        return [one for one in found if one is not None]

    def contrasts(self, name: str, first: Tensor, second: Tensor, weight: float) -> Terms:
        """The contrasts with views that augmenters make, and what makes these unlike, named after `name`."""
        views, terms = [first, second, self.augmenters[0](first), self.augmenters[1](second)], Terms()
        for one, other in _PAIRS if weight else ():
            pair, temperature = (views[one], views[other]), self.config.temperature
            terms[f"{name}_{one}{other}"] = nt_xent(*pair, temperature=temperature).times(weight)
            apart = too_alike(*pair, temperature=temperature).times(weight * self.config.apart)
            terms[f"{name}_apart_{one}{other}"] = apart
        return terms


CLAIM = Claim(
    statement="Views by augmenters that learn through the next step help a net to learn words from few labels.",
    arms={
        "learned_augmenter": "learned_augmenter",
        "views by hand": {"method": "learned_augmenter", "learned": 0.0, "meta": 0.0},
        "supervised": {"method": "supervised", "augment": "strong"},
        "augmenters as they began": {"method": "learned_augmenter", "meta": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="learned_augmenter",
    baseline="views by hand",
    cheap="supervised",
    ablation="augmenters as they began",
    untaught="untaught",
    world="emissions:words",
    smallest_effect=0.01,
    settings={"labels": 100, "test": 0.3, "steps": 100, "student": "cnn1d:8,16", "batch_size": 32, "lr": 0.01},
    search={
        "learned_augmenter": {"learned": (0.003, 0.01, 0.1)},
        "views by hand": {"contrast": (0.03, 0.1, 0.3)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411),
    shows="Two augmenters of representations, updated through one step of the net, and a regulariser.",
    omits="Recommendation, items, transformers, and larger batches for the contrast.",
    systems=("meta-optimized-contrastive-learning-for-sequenti",),
)
