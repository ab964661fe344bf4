"""Knowledge Concentration: Learning 100K Object Classifiers in a Single CNN (Gao, Guo, Li & Nevatia 2017).

Each group of classes has a specialist. One student learns all classes from the labels, and on the examples of a group
matches the specialist's probabilities within it. Weights are self-paced: specialists with a low loss come first.

Departures: the authors' weights and pacing could not be read, and no code is public. Labels, which alone tell the
groups apart, and specialists have a weight of 1; the threshold of the linear pacing is 2 / (1 - t) times the mean loss,
t from 0 to 1.

Formula: `tests/methods/test_knowledge_concentration.py::test_the_loss_and_its_gradient_in_torch`.

On `gaussian:families`, it is better than a tuned `supervised` by 1.5 points (0.6 to 2.5), and better than "one
generalist" by 11.1 (10.3 to 11.9). Training takes 23 times the operations of the baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.losses.combining import self_paced_weights
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.losses.labels.targets import group_distillation_loss
from didact.memory import ClassMeans
from didact.teachers import ClassGroups, committee_members
from didact.types import Batch, Learner, Logits, Method, Signal, Teacher, Term, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `knowledge_concentration`."""

    specialists: int = 3  # number of groups of consecutive classes, each of two classes or more
    groups: str = ""  # the groups by class numbers instead: 0,1,2/3,4/5,6,7,8,9, in the order of a teacher's a+b+c
    specialist: str = ""  # spec of the specialists trained here, such as mlp:128; by default the learner's
    prepare: float = 0.25  # share of the budget that trains the specialists, if none are given
    pacing: float = 0.5  # share of the rest after which all specialists have equal weight; 0 is from the start
    temperature: float = 1.0  # softens the probabilities of both
    weight: float = 1.0  # weight of the specialists' term; that of the labels is 1

    def __post_init__(self) -> None:
        check_range("specialists", self.specialists, at_least=1)
        check_range("prepare", self.prepare, above=0.0, below=1.0)
        check_range("pacing", self.pacing, at_least=0.0, at_most=1.0)
        check_range("temperature", self.temperature, above=0.0, below=float("inf"))
        check_range("weight", self.weight, at_least=0.0, below=float("inf"))


class KnowledgeConcentration(Method):
    """Distil several specialists into one student, the `learner`; `sample` tells the number of classes.

    Specialists predict all classes. They are the members of a `teacher`, a committee, or trained here, made by `spawn`.
    """

    def __init__(
        self,
        config: Config,
        learner: Learner,
        sample: Batch,
        spawn: Callable[[str], nn.Module],
        teacher: Teacher | None = None,
    ) -> None:
        self.config, self.learner, self.teacher, self.seen = config, learner, teacher, list[tuple[Tensor, Tensor]]()
        classes, given = learner(sample).logits.shape[-1], () if teacher is None else committee_members(teacher)
        even = ClassGroups.even(classes, len(given) or config.specialists)
        self.class_groups = ClassGroups.parse(config.groups, classes) if config.groups else even
        if given and len(given) != len(self.class_groups):
            raise ConfigError(
                f"teacher has {len(given)} members, but groups is {self.class_groups}; give one specialist for each."
            )
        self.specialists = nn.ModuleList(spawn(config.specialist) for _ in self.class_groups if not given)
        self.losses = ClassMeans(len(self.class_groups), prior=1.0)

    def loss(self, batch: Batch) -> Terms:
        """First `specialist_k`, each over its group's examples; then `teacher` and `label`, over all."""
        places = self.class_groups.within(batch["label"])
        if len(self.specialists) and self.fraction < self.config.prepare:
            predictions = [specialist.train()(batch).logits for specialist in self.specialists]
            learned = zip(predictions, self.class_groups, places, strict=True)
            return Terms({f"specialist_{k}": cross_entropy(z[:, g], at) for k, (z, g, at) in enumerate(learned)})
        logits = self.learner(batch).logits
        followed = zip(self.signals(batch), self.class_groups, places >= 0, strict=True)
        terms = [group_distillation_loss(logits, *one, temperature=self.config.temperature) for one in followed]
        sums, counts = torch.stack([term.sum for term in terms]), torch.stack([torch.as_tensor(t.count) for t in terms])
        self.seen.append((sums.detach(), counts))
        return Terms(
            teacher=Term((self.weights * sums).sum(), (self.weights * counts).sum(), self.config.weight),
            label=label_loss(logits, batch["label"], weight=batch.label_weight),
        )

    def signals(self, batch: Batch) -> list[Signal]:
        """The signal of each specialist, over all classes."""
        if self.teacher is not None:
            return [member.signal(batch) for member in committee_members(self.teacher)]
        with torch.no_grad():
            return [Logits(logits=specialist.eval()(batch).logits) for specialist in self.specialists]

    @property
    def weights(self) -> Tensor:
        """The current weight of each specialist, float [K] in [0, 1]."""
        begun = self.config.prepare if len(self.specialists) else 0.0
        own, losses = (self.fraction - begun) / (1.0 - begun), self.losses.mean
        left = max(0.0, 1.0 - own / self.config.pacing) if self.config.pacing else 0.0
        return self_paced_weights(losses * left, 2.0 * losses.mean().clamp(min=1e-12))

    def after_step(self) -> None:
        """Update the running means of the specialists' losses."""
        for sums, counts in self.seen:
            self.place.sum([sums, counts])
            self.losses.add(sums, counts)
        self.seen.clear()

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The examples of each group, weighted for the specialists' term; the labelled ones."""
        sizes = (self.class_groups.within(batch["label"]) >= 0).float().sum(1)
        own = {f"specialist_{k}": size for k, size in enumerate(sizes)}
        return {**own, "teacher": (self.weights * sizes).sum(), "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A student that follows a specialist for each group of classes beats one that learns from labels alone.",
    arms={
        "knowledge_concentration": {"method": "knowledge_concentration", "specialists": 8, "specialist": "mlp:64"},
        "supervised": "supervised",
        "one generalist": {"method": "distill", "teacher": "mlp:128", "alpha": 0.5},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="knowledge_concentration",
    baseline="supervised",
    cheap="one generalist",
    ablation="supervised",
    untaught="untaught",
    world="gaussian:families",
    smallest_effect=0.01,
    settings={"steps": 300, "student": "mlp:16", "schedule": "constant", "teacher_epochs": 10},
    search={
        "knowledge_concentration": {"temperature": (1.0, 3.0), "lr": (0.003, 0.01)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
    },
    equal="last_stage",
    stages={"knowledge_concentration": ("prepare",)},
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="Eight specialists for families of five classes, trained on the same labels in a stage of their own.",
    omits="100,000 classes, and the wider output layers that they call for.",
    systems=("knowledge-concentration",),
)
