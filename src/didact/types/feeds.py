"""Feeds: the batches that a method learns from, as one typed object per material."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import ClassVar, Literal

from didact.types.batches import Batch, is_labelled
from didact.types.data import Task

_NONE: tuple[list[int], None] = [], None

Strength = Literal[
    "none",
    "weak",
    "strong",
    "randaugment",
    "crop_flip",
    "corrupt",
    "cutmix",
    "jitter",
    "scaling",
    "window_slice",
    "window_warp",
    "magnitude_warp",
    "time_warp",
    "roll",
    "mask",
    "drop",
    "swap",
]
"""How inputs are augmented; see `didact.sources.augment.VIEWS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleFeed:
    """Batches of `Examples`."""

    material: ClassVar[str] = "examples"
    """The folder of `materials/` that prepares such runs."""
    labels: bool = True
    """Whether the loss reads labels. If not, batches have none, and none are charged."""
    unlabelled: bool = False
    """Whether batches include examples without a label."""
    adapts: bool = False
    """Whether batches have examples of another domain alone, on which a trained student is adapted: those whose tensor
    `domain` is 1, or else those without a label."""
    labelled_share: float | None = None
    """The share of labelled examples in a batch where labels are rare; None takes examples as they come."""
    views: Mapping[str, Strength] = field(default_factory=dict)
    """The augmented views that batches must have, by name, with the strength of each."""
    tasks: tuple[Task, ...] = ("classification",)
    """The tasks that the method can be used for."""
    least_batch: int = 1
    """The smallest batch size; 2 where pairs of examples are compared."""
    coupled: bool = False
    """Whether an example's loss depends on the others in the batch, so that the batch cannot be split."""
    alone: str = ""
    """Why several processes cannot train with it together, as the end of a sentence; empty where they can."""
    teacher: Literal["classes", "features"] = "classes"
    """The signal that the method needs. A teacher of features alone may have other classes than the data."""
    asks: bool = False
    """Whether the method asks for labels in rounds: its batches are then what its `collect` makes of a pool."""
    chooses: bool = False
    """Whether the method chooses the examples of its batches: by its attribute `curriculum`."""

    @property
    def charges(self) -> frozenset[str]:
        """The axes on which these batches are charged: fields of `Cost`."""
        return frozenset({"labels"} if self.labels else ())

    def labels_in(self, batch: Batch) -> tuple[list[int], list[int] | None]:
        """The labels of a batch that a method reads.

        Returns:
            The ids of their examples, and how many labels each of them has; None stands for one each.
        """
        if not self.labels or "label" not in batch:
            return _NONE
        # Lists, since indexing a small tensor takes longer.
        return list(compress(batch["id"].tolist(), is_labelled(batch["label"]).tolist())), None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionFeed:
    """Batches of prompts with completions from the data."""

    material: ClassVar[str] = "questions"
    charges: ClassVar[frozenset[str]] = frozenset({"labels", "student_tokens"})
    pairs: bool = False
    """Whether a preferred completion comes with a rejected one."""
    steps: bool = False
    """Whether the steps of a completion come with labels."""
    texts: tuple[str, ...] = ("completion",)
    """What is learned of a question: its completion, and texts in columns; see `didact.sources.select_texts`."""
    first: float = 0.0
    """The share of the steps in which the first of several texts is learned alone, before the others; 0 mixes them."""
    rate: float = 1.0
    """Factor of the student's default learning rate."""
    dropout: bool = False
    """Whether the student keeps its dropout by default. Off for methods that compare its probabilities with those of
    another model, or with its own without dropout."""
    tokenizers: Literal["same", "any"] = "same"
    """Whether the teacher may have another tokenizer than the student."""
    coupled: bool = False
    """See `ExampleFeed`."""
    alone: str = ""
    """See `ExampleFeed`."""

    def labels_in(self, batch: Batch) -> tuple[list[int], list[int] | None]:
        """Every completion is one label; a packed row has several. See `ExampleFeed`."""
        each = batch["segments"].amax(1).tolist() if "segments" in batch else None
        return batch["id"].tolist(), each


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFeed:
    """Batches of rollouts: completions that the student samples during training, round by round."""

    material: ClassVar[str] = "questions"
    charges: ClassVar[frozenset[str]] = frozenset({"student_tokens"})
    rewards: Literal["verifier", "itself"] | None = None
    """The source of rewards: a verifier, which is then required; the method's own comparison; or nowhere."""
    steps: bool = False
    """Whether the verifier must reward the steps of completions."""
    rate: float = 1.0
    """Factor of the student's default learning rate, since rewards are noisier than demonstrations."""
    grouped: bool = False
    """Whether the method compares completions of the same prompt, so that it learns nothing from one, or from equal
    ones."""
    dropout: ClassVar[bool] = False
    """See `CompletionFeed`."""
    completions: bool = False
    """Whether the method also learns from the completions of the data."""
    unpaired: bool = False
    """Whether the method reads `Question.label`, so that undesirable completions may be among the data's."""
    off_policy: Literal["refused", "weighted", "free"] = "refused"
    """Whether the method may learn from completions that slightly other weights or arithmetic sampled: not, if its loss
    weighs tokens by their `importance`, or freely."""
    epochs: int = 1
    """Passes over each round."""
    minibatches: int = 1
    """Optimizer steps per pass over a round."""
    tokenizers: Literal["same", "any"] = "same"
    """Whether the teacher may have another tokenizer than the student."""
    coupled: bool = False
    """See `ExampleFeed`."""
    alone: str = ""
    """See `ExampleFeed`."""

    def labels_in(self, _batch: Batch) -> tuple[list[int], list[int] | None]:
        """None: the `Writer` charges what it reads of a prompt while it collects a round."""
        return _NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFeed:
    """Batches of environment steps that the policy takes during training, round by round."""

    material: ClassVar[str] = "environments"
    charges: ClassVar[frozenset[str]] = frozenset()
    horizon: int = 128
    """Steps per environment and round."""
    epochs: int = 1
    """Passes over each round."""
    minibatches: int = 1
    """Optimizer steps per pass over a round."""
    coupled: bool = False
    """See `ExampleFeed`."""
    alone: str = ""
    """See `ExampleFeed`."""

    def labels_in(self, _batch: Batch) -> tuple[list[int], list[int] | None]:
        """None."""
        return _NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFeed:
    """A sequence of tasks, each with a feed of its own."""

    material: ClassVar[str] = "tasks"
    of: "ExampleFeed | CompletionFeed | RolloutFeed | StepFeed" = field(default_factory=ExampleFeed)
    """The feed of each task."""

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
"""Any feed."""
