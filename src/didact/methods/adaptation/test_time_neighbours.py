"""Self-Improving LLM Agents at Test-Time (Acikgoz, Qian, Ji, Hakkani-Tür & Tur 2025).

A net that was taught with labels goes on learning while it answers, one input at a time. It is unsure of an input
where the probabilities of its two likeliest classes are close. It then makes examples that are like this input, labels
them itself, tunes a light part of itself to them, answers, and forgets them again.

Departures: a classifier, whose candidates are the classes; the paper's are the actions of an agent. Neighbours are the
input with noise, where a language model writes them. The light part is a copy of the head, tuned by gradient descent;
the paper's is a LoRA adapter. The variant in which a stronger model writes the neighbours is left out, and so is that
which puts them into the prompt. The net that is delivered learns as it answers: `didact.load` needs it as a module.

Compared with no code, as none was found; softmax over the candidates, the difference of the two highest and the
threshold are those of the paper's text.

Formula: `tests/methods/test_test_time_neighbours.py::test_an_unsure_answer_is_that_of_a_head_that_torch_tuned`.

On `digits:corrupted`, it is undecided against a tuned `supervised` (+0.5 points, -2.9 to +3.9), and undecided against
"weak views" (+1.9, -0.7 to +4.6).
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import ModuleLearner, NeighbourTuned
from didact.losses.labels.supervised import label_loss
from didact.types import Batch, ExampleFeed, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `test_time_neighbours`."""

    threshold: float = 0.5  # margin between the two likeliest classes below which an input is learned from
    neighbours: int = 16  # examples that are made of such an input
    radius: float = 0.3  # standard deviation of their noise, in that of the inputs
    rate: float = 0.1  # step size of the copy of the head
    head_steps: int = 10  # steps that it takes

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, at_least=0.0, at_most=1.0)
        check_range("neighbours", self.neighbours, at_least=1)
        check_range("radius", self.radius, at_least=0.0)
        check_range("rate", self.rate, at_least=0.0)
        check_range("head_steps", self.head_steps, at_least=0)


class TestTimeNeighbours(Method):
    """Learn labels, and deliver a net that goes on learning as it answers.

    Args:
        config: the options.
        learner: the student, with a linear head.
        sample: a few examples, for the spread of the inputs.
        seed: of the noise that makes neighbours.

    Raises:
        ConfigError: the student has no linear head, or its inputs are no numbers.
    """

    __test__ = False  # else pytest takes it for a class of tests
    feed = ExampleFeed()

    def __init__(self, config: Config, learner: ModuleLearner, sample: Batch, seed: int = 0) -> None:
        if learner.head is None or "x" not in sample:
            lacks = "linear head to tune" if "x" in sample else "numbers as inputs, to which noise could be added"
            raise ConfigError(f"The student has no {lacks}, without which test_time_neighbours cannot learn.")
        self.config, self.learner, self.seed = config, learner, seed
        self.spread = sample["x"].std(0, correction=0)

    @property
    def delivered(self) -> ModuleLearner:
        """The student, which tunes a copy of its head where it is unsure."""
        config = self.config
        net = NeighbourTuned(
            self.learner,
            threshold=config.threshold,
            spread=self.spread * config.radius,
            neighbours=config.neighbours,
            rate=config.rate,
            steps=config.head_steps,
            seed=self.seed,
        )
        return ModuleLearner(net, head=None)

    def loss(self, batch: Batch) -> Terms:
        """`label`: nothing but the labels is learned before test time."""
        return Terms(label=label_loss(self.learner(batch).logits, batch["label"], weight=batch.label_weight))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples."""
        return {"label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A net that learns its own answers to neighbours of unsure inputs gets more corrupted digits right.",
    arms={
        "test_time_neighbours": "test_time_neighbours",
        "supervised": "supervised",
        "weak views": {"method": "supervised", "augment": "weak"},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="test_time_neighbours",
    baseline="supervised",
    cheap="weak views",
    ablation="supervised",
    untaught="untaught",
    world="digits:corrupted",
    smallest_effect=0.02,
    settings={"steps": 150, "student": "mlp:128,64"},
    search={
        "test_time_neighbours": {"radius": (0.1, 0.3), "lr": (0.003, 0.01)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411),
    shows="A gate on the margin, neighbours with the net's own labels, a copy of the head that is tuned and forgotten.",
    omits="Language models, which write neighbours that they know more of than noise does, and their tools.",
    systems=("self-improving-llm-agents-at-test-time",),
)
