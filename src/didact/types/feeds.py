"""What a method is fed: one typed object a material, in the place of flags that mean nothing for the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import ClassVar, Literal

from didact.types.batches import Batch, is_labelled
from didact.types.data import Task

_NONE: tuple[list[int], None] = [], None

Strength = Literal["none", "weak", "strong"]
"""How much the inputs of a view are varied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleFeed:
    """Batches of `Examples`."""

    material: ClassVar[str] = "examples"
    """The folder of `materials/` that puts such runs together."""
    labels: bool = True
    """Whether the loss reads labels. One that does not is given none, and is charged none."""
    unlabelled: bool = False
    """Whether examples without a label are among them."""
    labelled_share: float | None = None
    """Which share of a batch should have labels where they are rare; None takes examples as they come."""
    views: Mapping[str, Strength] = field(default_factory=dict)
    """Augmented views that the batches must carry, by name, with how much augmentation each gets."""
    tasks: tuple[Task, ...] = ("classification",)
    """The tasks that the method can be used for."""
    least_batch: int = 1
    """How many examples a batch must hold; 2 where pairs of examples are compared."""
    coupled: bool = False
    """Whether an example's loss depends on the others in the batch, so that the batch cannot be cut into parts."""
    alone: str = ""
    """Why processes cannot learn by it together, as the end of a sentence; empty where they can."""
    teacher: Literal["classes", "features"] = "classes"
    """What the method asks its teacher for. One that gives features alone may know other classes than the data's."""

    @property
    def charges(self) -> frozenset[str]:
        """What learning from such batches costs: fields of `Cost`."""
        return frozenset({"labels"} if self.labels else ())

    def labels_in(self, batch: Batch) -> tuple[list[int], list[int] | None]:
        """The labels of a batch that a method reads.

        Returns:
            The ids of their examples, and how many each of them holds; None stands for one each.
        """
        if not self.labels or "label" not in batch:
            return _NONE
        # Lists, as selecting from a small tensor takes longer.
        return list(compress(batch["id"].tolist(), is_labelled(batch["label"]).tolist())), None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionFeed:
    """Batches of prompts with completions that the data hold."""

    material: ClassVar[str] = "questions"
    charges: ClassVar[frozenset[str]] = frozenset({"labels", "student_tokens"})
    pairs: bool = False
    """Whether a preferred completion comes with a rejected one."""
    tokenizers: Literal["same", "any"] = "same"
    """Whether the teacher may have another tokenizer than the student."""
    coupled: bool = False
    """See `ExampleFeed`."""
    alone: str = ""
    """See `ExampleFeed`."""

    def labels_in(self, batch: Batch) -> tuple[list[int], list[int] | None]:
        """Every completion is one; a row that is packed holds several. See `ExampleFeed`."""
        each = batch["segments"].amax(1).tolist() if "segments" in batch else None
        return batch["id"].tolist(), each


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFeed:
    """Batches of completions that the student writes while it learns, round by round."""

    material: ClassVar[str] = "questions"
    charges: ClassVar[frozenset[str]] = frozenset({"student_tokens"})
    judged: Literal["verifier", "itself"] | None = None
    """Where rewards come from: a verifier, which must then be given; the method's own comparison; or nowhere."""
    rate: float = 1.0
    """What the student's usual learning rate is multiplied by where none is given: rewards are noisier than answers."""
    completions: bool = False
    """Whether it learns from the data's completions too."""
    epochs: int = 1
    """Passes over each round."""
    minibatches: int = 1
    """Optimizer steps in a pass over a round."""
    tokenizers: Literal["same", "any"] = "same"
    """Whether the teacher may have another tokenizer than the student."""
    coupled: bool = False
    """See `ExampleFeed`."""
    alone: str = ""
    """See `ExampleFeed`."""

    def labels_in(self, _batch: Batch) -> tuple[list[int], list[int] | None]:
        """None: what is read of a question while a round is collected, the `Writer` charges."""
        return _NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFeed:
    """Batches of steps that a policy takes in environments while it learns, round by round."""

    material: ClassVar[str] = "environments"
    charges: ClassVar[frozenset[str]] = frozenset()
    horizon: int = 128
    """Steps in each environment in a round."""
    epochs: int = 1
    """Passes over each round."""
    minibatches: int = 1
    """Optimizer steps in a pass over a round."""
    coupled: bool = False
    """See `ExampleFeed`."""
    alone: str = ""
    """See `ExampleFeed`."""

    def labels_in(self, _batch: Batch) -> tuple[list[int], list[int] | None]:
        """None."""
        return _NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFeed:
    """A sequence of tasks, each a feed of its own."""

    material: ClassVar[str] = "tasks"
    of: "ExampleFeed | CompletionFeed | RolloutFeed | StepFeed" = field(default_factory=ExampleFeed)
    """What each task is made of."""

    @property
    def coupled(self) -> bool:
        """As for each task."""
        return self.of.coupled

    @property
    def alone(self) -> str:
        """As for each task."""
        return self.of.alone

    @property
    def charges(self) -> frozenset[str]:
        """As for each task."""
        return self.of.charges

    def labels_in(self, batch: Batch) -> tuple[list[int], list[int] | None]:
        """As for each task."""
        return self.of.labels_in(batch)


Feed = ExampleFeed | CompletionFeed | RolloutFeed | StepFeed | TaskFeed
"""What a method is fed."""
