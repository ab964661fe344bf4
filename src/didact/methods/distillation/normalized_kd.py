"""From Knowledge Distillation to Self-Knowledge Distillation (Yang, Zeng, Yuan & Li 2023), with a teacher: NKD.

The student's negative log-likelihood of the target class is also weighted by the teacher's probability of it. The
probabilities of the other classes, whose sums differ between student and teacher, are normalised before they are
compared.

Departures: the loss of the other classes is the divergence instead of the cross-entropy, which differs by the teacher's
entropy and has the same gradient; an example without a label takes the teacher's most likely class as its target in the
teacher's terms.

Compared with mmcls/distillation/losses/nkd.py of yzd-v/cls_KD: both terms agree. The defaults are those of its
configuration for CIFAR-100 (ResNet-34 to ResNet-18); that for ImageNet has a temperature of 1 and a gamma of 1.5.
Values: `tests/methods/test_normalized_kd.py::test_nkd_has_the_gradient_of_the_papers_formula`.

On `mnist1d`, it is equivalent to a tuned `distill` (0.0 points, -0.7 to +0.7), better than `supervised` by 1.3 (0.6 to
2.0), and better than itself without its mechanism ("target class alone") by 0.8 (0.0 to 1.5).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.classes.decoupled import decoupled_kd
from didact.losses.classes.normalised import weighted_nll
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import target_log_probs
from didact.types import Batch, ExampleFeed, Learner, Method, Teacher, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `normalized_kd`."""

    gamma: float = 3.5  # weight of the teacher's probabilities of the other classes
    temperature: float = 3.0  # softens the probabilities of both among the other classes

    def __post_init__(self) -> None:
        check_range("gamma", self.gamma, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class NormalizedKD(Method):
    """Match a teacher on the target class, and separately among the other classes.

    Args:
        config: the options.
        learner: the student.
        teacher: a teacher with logits, class probabilities or class labels.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, teacher: Teacher) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher

    def loss(self, batch: Batch) -> Terms:
        """`target` and `others` over all examples; `label` over those that have a label."""
        temperature, label = self.config.temperature, batch["label"]
        signal = self.teacher.signal(batch)
        logits, trust = self.learner(batch).logits, signal.effective_trust
        theirs, soft = (target_log_probs(signal, t, classes=logits.shape[-1]) for t in (1.0, temperature))
        target = torch.where(is_labelled(label), label, theirs.argmax(-1))
        sure = theirs.gather(1, target.unsqueeze(1)).squeeze(1).exp()
        _, others = decoupled_kd(logits, soft, target, temperature=temperature, trust=trust)
        return Terms(
            target=weighted_nll(logits, target, sure, trust=trust),
            others=others.times(self.config.gamma),
            label=label_loss(logits, label, weight=batch.label_weight),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher (which never abstains), the labelled ones for the labels."""
        return {"target": batch.size, "others": batch.size, "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A student that compares the other classes among themselves is more accurate than by plain distillation.",
    arms={
        "normalized_kd": "normalized_kd",
        "distill": "distill",
        "supervised": "supervised",
        "target class alone": {"method": "normalized_kd", "gamma": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="normalized_kd",
    baseline="distill",
    cheap="supervised",
    ablation="target class alone",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"test": 0.4, "steps": 400, "student": "mlp:64", "teacher": "cnn1d:16,32,16"},
    search={
        "normalized_kd": {"gamma": (1.5, 3.5), "lr": (0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="What the teacher's odds among the wrong classes are worth, apart from those of the right one.",
    omits="Images, many classes and deep nets.",
    systems=("from-knowledge-distillation-to-self-knowledge-di",),
)
