"""The configuration of the loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from didact.errors import check_choice, check_range
from didact.loop.tracking import check_trackers
from didact.types import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Options of the loop: device, precision, and the intervals of logging, evaluation and checkpoints.

    Raises:
        ConfigError: a number out of range, an unknown precision or an unknown tracker.
        MissingExtraError: a tracker is not installed.
    """

    FLAGS: ClassVar[Mapping[str, str]] = {}

    device: str = "auto"  # cpu, cuda, mps or auto
    precision: Literal["auto", "float32", "bfloat16"] = (
        "auto"  # of matrix products; auto: bfloat16 where the GPU has it
    )
    clip_norm: float | None = None  # longest gradient that is not shortened, 0 for any; 1 for language models, else 0
    micro_batch: int | None = None  # examples that go through the model at once, to save memory
    log_every: int | None = None  # steps between readings of the losses, when monitors look; 50, or 10 for text
    evaluate_every: int | None = None  # steps between evaluations on the validation examples; ten times a run
    patience: int | None = None  # evaluations in a row without a better one that end the run; also give select = best
    checkpoint_every: int | None = None  # steps between checkpoints; one a minute
    keep_checkpoints: int = 3  # how many checkpoints are kept during a run; one when it is done
    track: tuple[str, ...] = ()  # where metrics go, too: tensorboard (where it is installed), wandb, mlflow or none
    progress: bool = True  # a progress bar, in a terminal

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        for name in ("micro_batch", "log_every", "evaluate_every", "checkpoint_every", "keep_checkpoints", "patience"):
            if (value := getattr(self, name)) is not None:
                check_range(name, value, at_least=1)
        if self.clip_norm is not None:
            check_range("clip_norm", self.clip_norm, at_least=0.0)
        if self.track:
            check_trackers(self.track)


@dataclass(frozen=True, slots=True)
class Validation:
    """The evaluation of a student during training.

    Raises:
        ConfigError: an unknown `select`.
    """

    measure: Callable[[Any], Mapping[str, float]]
    """A function from the delivered learner to metrics by name."""
    metric: str = "accuracy"
    """The metric that decides which evaluation is the best; see `didact.types.LOWER_IS_BETTER`."""
    select: Literal["last", "best"] = "last"
    """The weights that are delivered when the budget is used up: the last, or those of the best evaluation."""
    examples: Batch | None = None
    """Some labelled validation examples, for monitors of labels and pseudo-labels."""
    train: Batch | None = None
    """Some labelled training examples, for monitors of labels."""

    def __post_init__(self) -> None:
        check_choice("select", self.select, ("last", "best"))
