"""GeneIC: unsupervised prompt learning in another domain (Wei & Chen 2023).

A frozen net is adapted by a prompt alone: here a tensor that is added to every input. A frozen scorer says how well
each class suits an input. The prompt raises the score that is expected of the net's answer (semantic consistency). Each
input also comes with another attribute, and the answer is to change in the direction in which the scores do (attribute
consistency). No label is read.

Departures: classes in the place of sentences, so that the expected score needs no sampling; the change of an answer is
that of its probabilities, compared by the cosine with the change of the scores, where the paper compares embeddings of
images and sentences; the prompt is no vector before a sentence, as a classifier has none. How the paper weighs its two
losses is not known here. `didact.load` needs the net that is delivered as a module.

Compared with no code, as none was found, and with the paper's abstract alone.

Formula: `tests/methods/test_prompt_adaptation.py::test_the_loss_is_that_of_expected_scores_and_directions`.

On `pairs:shifted`, it is worse than a tuned "similarity alone" by 2.8 points (2.0 to 3.7), and better than "source" by
36.6 (33.2 to 39.9).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, TeacherError, check_range
from didact.learners import ModuleLearner, functional_forward
from didact.learners.prompted import Prompt, PromptedNet
from didact.losses.features.directions import expected_score, unlike_changes
from didact.types import Batch, ExampleFeed, Group, Logits, Method, Teacher, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `prompt_adaptation`."""

    changed: str = "transferred"  # view that shows each input with another attribute
    similarity: float = 1.0  # weight of the expected score
    direction: float = 0.1  # weight of the direction of change
    scale: float = 100.0  # of the teacher's logits, by which scores are divided; that of CLIP

    def __post_init__(self) -> None:
        check_range("similarity", self.similarity, at_least=0.0)
        check_range("direction", self.direction, at_least=0.0)
        check_range("scale", self.scale, above=0.0)


class PromptAdaptation(Method):
    """Move the inputs of a trained net so that a scorer likes its answers, and how they change.

    Args:
        config: the options.
        learner: the student, trained on another domain; it stays as it is.
        teacher: the scorer, which returns logits.
        sample: a few examples, for the shape of the inputs.

    Raises:
        ConfigError: the batches have no such view, or inputs that are no numbers.
    """

    # Plain inputs are a view, too: a teacher's signals on inputs without views are kept by row, whatever the input.
    feed = ExampleFeed(labels=False, unlabelled=True, adapts=True, views={"plain": "none"})

    def __init__(self, config: Config, learner: ModuleLearner, teacher: Teacher, sample: Batch) -> None:
        if f"{config.changed}.x" not in sample:
            raise ConfigError(
                f"changed is {config.changed!r}, a view that the data lack; give Examples from Python with a tensor "
                f"'{config.changed}.x' that shows each input with another attribute, or data such as pairs:shifted."
            )
        self.config, self.learner, self.teacher = config, learner, teacher
        self.prompt = Prompt(sample["x"].shape[1:])

    @property
    def delivered(self) -> ModuleLearner:
        """The student behind the prompt."""
        return ModuleLearner(PromptedNet(self.learner, self.prompt), head=None)

    def groups(self) -> Mapping[str, Group]:
        """The prompt."""
        return {"prompt": Group(self.prompt)}

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The prompt, by place."""
        return {"prompt.value": self.prompt.value}

    def loss(self, batch: Batch) -> Terms:
        """`similarity` and `direction`, over all examples."""
        config, views = self.config, [batch.view(name) for name in ("plain", self.config.changed)]
        probs, others = (self.answer(view).softmax(-1) for view in views)
        scores, moved = (self.score(view) for view in views)
        return Terms(
            similarity=expected_score(probs, scores).times(-config.similarity),
            direction=unlike_changes(others - probs, moved - scores).times(config.direction),
        )

    def answer(self, batch: Batch) -> Tensor:
        """The logits of the frozen student for moved inputs, [B, C]."""
        frozen = {name: weight.detach() for name, weight in self.learner.named_parameters()}
        return functional_forward(self.learner, frozen, self.prompt(batch)).logits.float()

    @torch.no_grad()
    def score(self, batch: Batch) -> Tensor:
        """How well each class suits an input, [B, C]."""
        signal = self.teacher.signal(batch)
        if not isinstance(signal, Logits):
            raise TeacherError(f"The teacher gives {type(signal).__name__}; prompt_adaptation needs one with logits.")
        return signal.logits.float() / self.config.scale

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples."""
        return {"similarity": batch.size, "direction": batch.size}


CLAIM = Claim(
    statement="A prompt that also learns how answers change helps a net in another domain more than one that does not.",
    arms={
        "prompt_adaptation": "prompt_adaptation",
        "similarity alone": {"method": "prompt_adaptation", "direction": 0.0},
        "source": {"method": "supervised", "lr": 1e-5},
        "untaught": {"method": "supervised", "lr": 1e-9, "student": "mlp:64"},
    },
    method="prompt_adaptation",
    baseline="similarity alone",
    cheap="source",
    ablation="similarity alone",
    untaught="untaught",
    world="pairs:shifted",
    smallest_effect=0.01,
    settings={"steps": 150, "student": "warm:200:mlp:64", "teacher": "didact.worlds.pairs:scorer", "lr": 0.03},
    search={
        "prompt_adaptation": {"direction": (0.03, 0.1), "lr": (0.01, 0.03)},
        "similarity alone": {"lr": (0.003, 0.01, 0.03, 0.1)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(430, 431, 432, 433, 434, 435, 436, 437, 438, 439, 440, 441),
    shows="A prompt that moves inputs, by a frozen scorer of classes and the direction in which scores change.",
    omits="Captions, CLIP, photographs whose attributes are transferred by a generator; splits are fixed.",
    systems=("improving-generalization-of-image-captioning-wit",),
)
