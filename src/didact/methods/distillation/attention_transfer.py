"""Paying More Attention to Attention (Zagoruyko & Komodakis 2017).

A net's attention map is its activation at each position, summed over the channels, so that no projector is needed. The
student is distilled, and at the end of each stage its normalised attention map is trained towards the teacher's.

Departures: the loss is the squared distance of two maps, as in the authors' code, not the distance in equation 2; it is
not divided by the number of positions, so that one weight suits maps of any size (4 is the authors' 1000 for maps of 16
x 16). Tokens of a transformer are positions too. `alpha` 0 gives the paper's variant without distillation.

Compared with distiller_zoo/AT.py of HobbitLong/RepDistiller, whose weight of 1000 is that of a mean over positions.
Values: `tests/losses/test_attention.py::test_maps_match_a_slow_transcription`.

On `digits` with 100 labels, it is undecided against a tuned `distill` (-0.2 points, -1.2 to +0.8), and better than
`supervised` by 10.2 (8.8 to 11.6).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import find_stages
from didact.losses.combining import add_terms
from didact.losses.features.attention import attention_transfer
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import SoftTargetConfig, distillation_loss, target_features
from didact.teachers.base import WrappingTeacher
from didact.types import Batch, ExampleFeed, Learner, Method, Output, Signal, Teacher, Term, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config(SoftTargetConfig):
    """Options of `attention_transfer`."""

    student_taps: tuple[str, ...] = ()  # layers of the student, by module name; by default the end of each stage
    teacher_taps: tuple[str, ...] = ()  # layers of the teacher, one for each of the student; by default as there
    weight: float = 4.0  # of the squared distance between attention maps, which is at most 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.student_taps) != len(self.teacher_taps):
            raise ConfigError(
                f"student_taps names {len(self.student_taps)} layers and teacher_taps {len(self.teacher_taps)}; each "
                "layer of the student needs one of the teacher."
            )
        check_range("weight", self.weight, at_least=0.0, below=float("inf"))


class AttentionTransfer(Method):
    """Distil probabilities and attention maps.

    Args:
        config: the options.
        learner: the student, with taps.
        teacher: a teacher with features.
        sample: a few examples, to find the ends of the stages.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, teacher: Teacher, sample: Batch) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher
        self.pairs = list(zip(config.student_taps, config.teacher_taps, strict=True)) or _pairs(
            learner, teacher, sample
        )
        learner.tap(*(mine for mine, _ in self.pairs))
        teacher.tap(*(theirs for _, theirs in self.pairs))
        with torch.no_grad():
            self.attention_loss(learner(sample), teacher.signal(sample))

    def attention_loss(self, output: Output, signal: Signal) -> Term:
        """The loss of the attention maps, summed over the stages."""
        return add_terms(
            attention_transfer(output.features[mine], target_features(signal, theirs), trust=signal.trust)
            for mine, theirs in self.pairs
        )

    def loss(self, batch: Batch) -> Terms:
        """`attention` and `teacher` over all examples; `label` over those that have one."""
        config = self.config
        signal, output = self.teacher.signal(batch), self.learner(batch)
        return Terms(
            attention=self.attention_loss(output, signal).times(config.weight),
            teacher=distillation_loss(output.logits, signal, temperature=config.temperature).times(config.alpha),
            label=label_loss(output.logits, batch["label"], weight=batch.label_weight).times(1.0 - config.alpha),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher (that abstains nowhere), the labelled ones for the labels."""
        return {"attention": batch.size, "teacher": batch.size, "label": is_labelled(batch["label"]).sum()}


def _pairs(learner: Learner, teacher: Teacher, sample: Batch) -> list[tuple[str, str]]:
    """The ends of the stages that both have at the same resolution."""
    asked = teacher
    while isinstance(asked, WrappingTeacher):
        asked = asked.teacher
    known = getattr(getattr(asked, "learner", None), "module", None)
    own = getattr(learner, "module", learner)
    if not isinstance(known, nn.Module) or not isinstance(own, nn.Module):
        # Raises an error that explains which teachers have features.
        teacher.tap("the end of each stage")
        raise ConfigError(
            "student_taps and teacher_taps are empty, and a model has no modules to search; name the layers."
        )
    mine, theirs = find_stages(own, lambda: learner(sample)), find_stages(known, lambda: asked.signal(sample))
    pairs = [(mine[resolution], tap) for resolution, tap in theirs.items() if resolution in mine]
    if not pairs:
        raise ConfigError(
            f"The student has maps or tokens at {_listed(mine)} and the teacher at {_listed(theirs)}, of which no two "
            "agree; name layers of the same resolution in student_taps and teacher_taps."
        )
    return pairs


def _listed(found: dict[tuple[int, ...], str]) -> str:
    return ", ".join(f"{tap} ({'x'.join(map(str, at))})" for at, tap in found.items()) or "no layer"


CLAIM = Claim(
    statement="A student that also looks where its teacher looks is more accurate than by distillation.",
    arms={
        "attention_transfer": "attention_transfer",
        "distill": "distill",
        "supervised": "supervised",
        "no attention": {"method": "attention_transfer", "weight": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="attention_transfer",
    baseline="distill",
    cheap="supervised",
    ablation="no attention",
    untaught="untaught",
    smallest_effect=0.01,
    settings={"labels": 100, "test": 0.4, "steps": 400, "student": "cnn:4,8", "teacher": "cnn:16,32"},
    search={
        "attention_transfer": {"weight": (1.0, 4.0), "lr": (0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="Two attention maps in addition to the same probabilities, on small images.",
    omits="Both nets are shallow and their maps are of 4 x 4 and 2 x 2, where the paper has deep residual nets.",
)
