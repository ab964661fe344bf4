"""Talking Models: Distill Pre-trained Knowledge to Downstream Models via Interactive Communication (Zhao et al. 2023).

Student and teacher each have an encoder, from hidden states to messages, and a decoder back. The teacher sends a
message about the input. The student sends one as well, which the teacher decodes to a state of its middle layer,
processes through its remaining layers and replies to; so the student requests knowledge on its own terms. Three losses
train the conversation: the student's head must predict the label from each decoded message, and states must agree with
messages on either side, also without labels. The frozen teacher may have other classes; `rounds` 0 is one-way.

Departures: this is written from the abstract, and no code is public; the encoders and decoders are nets of two layers,
the consistency of states is a squared error relative to the state's norm, and the weights are ours. The student's state
is not trained towards the replies, in which it would follow its own echo.

Formula: `tests/methods/test_talking_models.py::test_the_loss_and_its_gradient_in_torch`.

On `characters` with 520 labels, it is worse than a tuned `distill` by 13.9 points (12.6 to 15.2), better than
`supervised` by 5.4 (4.1 to 6.7), and better than itself without its mechanism ("one-way") by 1.0 (0.2 to 1.8). Training
takes 18 times the operations of the baseline.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import HIDDEN, ModuleLearner, middle_layer, replace_activation
from didact.losses.combining import mean_terms
from didact.losses.features.distances import relative_mse
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import target_features
from didact.teachers import teacher_net, unwrap
from didact.types import Batch, ExampleFeed, Method, Teacher, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `talking_models`."""

    rounds: int = 1  # rounds of a student's message and a teacher's reply, after the teacher's first message
    message: int = 64  # width of a message
    listening: float = 0.3  # weight of the label loss on the states that the student decodes
    consistency: float = 0.3  # weight of the agreement between states and messages
    teacher_tap: str = ""  # the teacher's layer that messages are decoded to, by module name; by default a middle one

    def __post_init__(self) -> None:
        check_range("rounds", self.rounds, at_least=0)
        check_range("message", self.message, at_least=1)
        check_range("listening", self.listening, at_least=0.0, below=float("inf"))
        check_range("consistency", self.consistency, at_least=0.0, below=float("inf"))


class TalkingModels(Method):
    """Learn from the labels, and from messages exchanged with a teacher.

    Args:
        config: the options.
        learner: the student, whose last layer is linear.
        teacher: a frozen net with features, whose last layer is linear; DidactError for others and for unknown taps.
        sample: a few examples, to find layers and shapes.
        seed: of the encoders' and decoders' initial weights.
    """

    feed = ExampleFeed(unlabelled=True, teacher="features")

    def __init__(self, config: Config, learner: ModuleLearner, teacher: Teacher, sample: Batch, seed: int = 0) -> None:
        self.config, self.learner, self.teacher = config, learner, teacher
        self.tap = config.teacher_tap or middle_layer(teacher_net(teacher), sample)
        teacher.tap(HIDDEN, self.tap)
        hidden, theirs = learner(sample).hidden, teacher_net(teacher)(sample).features
        if hidden is None or learner.head is None:
            raise ConfigError(
                "The student has no linear head with one vector [D] for each example before it, which talking_models "
                "needs; take one whose last layer is linear, such as mlp:64,64 or cnn:16,32."
            )
        mine, state, end = hidden.shape[1], theirs[self.tap][0].numel(), theirs[HIDDEN][0].numel()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.student_encoder, self.student_decoder = _codec(mine, config.message), _codec(config.message, mine)
            self.teacher_encoder, self.teacher_decoder = _codec(end, config.message), _codec(config.message, state)

    def teacher_message(self, batch: Batch, state: Tensor) -> Tensor:
        """The teacher's message [B, M], computed onwards from a state of its middle layer."""
        if self.tap != HIDDEN:
            view = unwrap(self.teacher).view
            seen = batch.view(view) if view and any(key.startswith(view + ".") for key in batch) else batch
            unwrap(self.teacher).count(batch)
            state = replace_activation(teacher_net(self.teacher), seen, self.tap, state).features[HIDDEN]
        return self.teacher_encoder(state)

    def loss(self, batch: Batch) -> Terms:
        """`label`; `heard`, the labels again; `student` and `teacher`, states that agree with messages."""
        config, signal, output = self.config, self.teacher.signal(batch), self.learner(batch)
        state, mine = target_features(signal, self.tap), output.hidden
        message = self.teacher_encoder(target_features(signal, HIDDEN))
        received, read = [self.student_decoder(message)], [self.teacher_decoder(message)]
        for _ in range(config.rounds):
            read.append(self.teacher_decoder(self.student_encoder(mine)))
            mine = self.student_decoder(self.teacher_message(batch, read[-1]))
            received.append(mine)
        head, label, weight = self.learner.head, batch["label"], batch.label_weight
        heard = [label_loss(F.linear(one, head.weight, head.bias), label, weight=weight) for one in received]
        teacher = [relative_mse(one, state, trust=signal.trust) for one in read]
        return Terms(
            label=label_loss(output.logits, label, weight=weight),
            heard=mean_terms(heard).times(config.listening),
            student=relative_mse(output.hidden, received[0], trust=signal.trust).times(config.consistency),
            teacher=mean_terms(teacher).times(config.consistency),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the labels, all of them for the states."""
        labelled = is_labelled(batch["label"]).sum()
        return {"label": labelled, "heard": labelled, "student": batch.size, "teacher": batch.size}


def _codec(size: int, outputs: int) -> nn.Module:
    width = max(size, outputs)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, outputs))


CLAIM = Claim(
    statement="A student that talks with its teacher learns more than one that is told its probabilities.",
    arms={
        "talking_models": {"method": "talking_models", "batch_size": 128, "labelled_share": 0.5},
        "distill": {"method": "distill", "batch_size": 128, "labelled_share": 0.5},
        "supervised": "supervised",
        "one-way": {"method": "talking_models", "rounds": 0, "batch_size": 128, "labelled_share": 0.5},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="talking_models",
    baseline="distill",
    cheap="supervised",
    ablation="one-way",
    untaught="untaught",
    world="characters",
    smallest_effect=0.01,
    settings={"labels": 520, "test": 0.3, "steps": 200, "student": "mlp:64,64", "teacher": "mlp:256,128"},
    search={
        "talking_models": {"consistency": (0.3, 1.0), "lr": (0.003, 0.01)},
        "distill": {"temperature": (1.0, 4.0), "lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="Messages both ways with a frozen net that learned all letters, of which the student has a fifth.",
    omits="Foundation models, and tasks other than the teacher's; a reply costs a further pass through the teacher.",
    systems=("talking-models",),
)
