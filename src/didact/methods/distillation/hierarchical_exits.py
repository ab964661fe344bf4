"""One Model to Train them All: Hierarchical Self-Distillation for Enhanced Early Layer Embeddings (Gurioli et al.).

An encoder has several exits. The same loss is computed at each, and the weighted sum trains all layers together, so
that the deeper exits also train the layers that they share with the early ones. Each exit is a model that can be cut
off and used alone; the earliest is the learner, which is delivered at its own depth. The deeper ones are given as
`exits`: `--student transformer:1x32 --exits transformer:2x32+transformer:4x32`.

Departures: the authors' weights could not be read; here the learner has weight 1 and each deeper exit `deeper`. The
loss is that of the labels, where the paper has masked tokens with a loss over repositories, and then contrast between
text and code. Shared layers are computed once for each exit, which gives the same gradients at a higher cost. The exits
of built-in transformers share the last normalisation; their heads are their own. A custom module needs exits of the
form package.module:factory, whose layers have the same names.

Compared with no code: that of the training is not public, and the loss in the authors' model file
(modularStarEncoder.py, on Hugging Face) could not be read.

Formula: `tests/methods/test_hierarchical_exits.py::test_the_same_loss_at_each_exit_trains_the_layers_below`.

On `characters` with 520 labels, it is better than a tuned "alone" by 0.8 points (0.2 to 1.3), and undecided against
"label smoothing" (+0.6, 0.0 to +1.3); a single run does not show that. Training takes 2.7 times the operations of the
baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import ModuleLearner, share_layers
from didact.losses.labels.supervised import label_loss
from didact.types import Batch, ExampleFeed, Method, Output, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `hierarchical_exits`."""

    exits: str = ""  # specs of the deeper exits, joined by +; each starts with the layers of the one before
    deeper: float = 0.3  # weight of the loss at each deeper exit; that of the learner, the earliest, has weight 1
    guided: bool = True  # early exits train their layers; else only their heads

    def __post_init__(self) -> None:
        check_range("deeper", self.deeper, at_least=0.0)

    @property
    def specs(self) -> list[str]:
        """The specs in `exits`, one by one."""
        return [spec.strip() for spec in self.exits.split("+") if spec.strip()]


class HierarchicalExits(Method):
    """Train a net and its deeper continuations together, with the same loss.

    Args:
        config: the options.
        learner: the earliest exit.
        spawn: makes the deeper exits from their specs.

    Raises:
        ConfigError: no exit is given, one does not extend the one before, or the learner has no linear head.
    """

    feed = ExampleFeed(tasks=("classification", "regression"))

    def __init__(self, config: Config, learner: ModuleLearner, spawn: Callable[[str], ModuleLearner]) -> None:
        if not config.specs:
            raise ConfigError(
                "exits is empty, but hierarchical_exits needs a deeper net that starts with the learner's layers; for "
                "the learner transformer:1x32, give exits=transformer:4x32."
            )
        self.config, self.learner = config, learner
        self.exits = [spawn(spec) for spec in config.specs]
        for shallow, deep in zip((learner, *self.exits), self.exits, strict=False):
            share_layers(shallow, deep)

    def loss(self, batch: Batch) -> Terms:
        """`label_i` for each exit i, the learner's first."""
        terms, nets = Terms(), (self.learner, *self.exits)
        for i, net in enumerate(nets):
            output = net(batch)
            logits = self.exit_logits(net, output) if net is not nets[-1] else output.logits
            term = label_loss(logits, batch["label"], weight=batch.label_weight)
            terms[f"label_{i}"] = term.times(self.config.deeper if i else 1.0)
        return terms

    def exit_logits(self, net: ModuleLearner, output: Output) -> Tensor:
        """An early exit's logits, which train its layers only if `guided`."""
        if self.config.guided:
            return output.logits
        if output.hidden is None or net.head is None:
            raise ConfigError("guided is false, which needs learners with a linear head, such as transformer:1x32.")
        return net.head(output.hidden.detach())

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples, for each exit."""
        labelled = is_labelled(batch["label"]).sum()
        return {f"label_{i}": labelled for i in range(len(self.exits) + 1)}


CLAIM = Claim(
    statement="A net whose layers also learn from a deeper exit is more accurate than the same net trained alone.",
    arms={
        "hierarchical_exits": {"method": "hierarchical_exits", "exits": "mlp:64,64,64"},
        "alone": "supervised",
        "label smoothing": {"method": "supervised", "label_smoothing": 0.1},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="hierarchical_exits",
    baseline="alone",
    cheap="label smoothing",
    ablation="alone",
    untaught="untaught",
    world="characters",
    smallest_effect=0.01,
    settings={"labels": 520, "test": 0.3, "steps": 300, "student": "mlp:64"},
    search={
        "hierarchical_exits": {"deeper": (0.3, 1.0), "lr": (0.003, 0.01)},
        "alone": {"lr": (0.001, 0.003, 0.01, 0.03)},
        "label smoothing": {"lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="A net of one layer, cut off after training with an exit two layers above. With no weight on that it is "
    "trained alone.",
    omits="Transformers, masked tokens, contrast, recall: letters are classified. A step with exits costs more.",
    systems=("one-model-to-train-them-all",),
)
