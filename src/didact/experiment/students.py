"""Learners of a run: built by their spec, made again, and kept so that a later run can use them."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from didact import files
from didact.errors import CheckpointError, ConfigError
from didact.learners import ModuleLearner, build, export
from didact.types import Examples

DEFAULTS = {"table": "mlp:64,64", "image": "cnn:16,32", "text": "transformer:2x64"}
"""The learner that `auto` stands for, by the kind of data."""
RATES = {"mlp": 3e-3, "cnn": 3e-3, "transformer": 1e-3, "hf": 5e-5}
"""The learning rate that suits each kind of learner where none is given; small nets bear a high one."""
STUDENT = "student.safetensors"
"""The file in a run's directory that holds what the run delivered."""
_STRIDE = 1_000_003


def resolve(spec: str, examples: Examples) -> str:
    """The spec of a learner, with `auto` replaced by what suits the data."""
    return DEFAULTS[examples.modality] if spec == "auto" else spec


def rate(learner: Any) -> float:
    """The learning rate for a learner where none is given: by its spec, or 0.001 for one that came from Python."""
    return RATES.get(learner.partition(":")[0], 1e-3) if isinstance(learner, str) else 1e-3


def tokenizer_of(spec: str, max_length: int) -> Any:
    """The tokenizer that a learner brings along; None for learners that read bytes."""
    if not spec.startswith("hf:"):
        return None
    from didact.learners import huggingface

    return huggingface.tokenizer_of(spec.removeprefix("hf:"), max_length=max_length)


class Spawn:
    """Makes learners of the student's kind, or of another one, freshly initialised.

    Every call uses a seed of its own, which depends on the run's seed and the number of the call alone.

    Args:
        learner: the student's spec; or from Python a module, or a function that returns a module.
        examples: what the learners are for.
        seed: the run's.
    """

    def __init__(self, learner: Any, examples: Examples, seed: int) -> None:
        self.learner, self.examples, self.seed, self.calls = learner, examples, seed, 0

    def first(self) -> ModuleLearner:
        """The student itself: a given module is used as it is."""
        if isinstance(self.learner, nn.Module):
            return as_learner(self.learner)
        return self._make(self.learner, self.seed)

    def __call__(self, spec: str = "") -> ModuleLearner:
        """Another learner.

        Args:
            spec: of another kind; empty for the student's.

        Raises:
            ConfigError: The student is a module that cannot be initialised anew.
        """
        self.calls += 1
        return self._make(spec or self.learner, self.seed + _STRIDE * self.calls)

    def _make(self, learner: Any, seed: int) -> ModuleLearner:
        if isinstance(learner, str):
            return build(learner, self.examples, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return as_learner(_reset(learner) if isinstance(learner, nn.Module) else _called(learner))


def as_learner(module: nn.Module) -> ModuleLearner:
    """A module as a learner; one that is a learner already is left alone."""
    return module if isinstance(module, ModuleLearner) else ModuleLearner(module)


def _called(factory: Callable[[], Any]) -> nn.Module:
    module = factory() if callable(factory) else factory
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"learner gives {type(module).__name__}, but must be a spec such as 'mlp:64', an nn.Module, or a function "
            "that returns one."
        )
    return module


def _reset(module: nn.Module) -> nn.Module:
    """A copy with fresh weights, drawn by its own parts' `reset_parameters`."""
    fresh = copy.deepcopy(module)
    for name, part in fresh.named_modules():
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
        elif next(part.parameters(recurse=False), None) is not None:
            raise ConfigError(
                f"learner has a part {name or type(part).__name__!r} that cannot be initialised anew, as it has no "
                "reset_parameters; give the learner as a function that returns a new module."
            )
    return fresh


@dataclass(frozen=True)
class Saved:
    """A learner that was kept, with what it was taught on."""

    learner: ModuleLearner
    spec: str
    like: Examples
    """Two blank examples of the same kind: shape, classes and columns."""


def keep(directory: Path, learner: ModuleLearner, spec: str | None, examples: Examples) -> None:
    """Write a run's student into the run's directory, where `load` finds it.

    Args:
        directory: gets `student.safetensors`.
        learner: any.
        spec: by which it can be built again; None where it came from Python.
        examples: of the kind that it was taught on.

    Raises:
        OSError: The disk is full or not writable.
    """
    export.export(learner, directory / STUDENT, to="safetensors", examples=examples, spec=spec)


def load(directory: Path, *, trust: Iterable[str] = ()) -> Saved:
    """Build a run's student again, with its weights.

    Args:
        directory: that of a finished run, or a file that `didact export` wrote.
        trust: code (`package.module:factory`) and downloads (`hf:NAME`) that it may ask for.

    Raises:
        CheckpointError: There is none, it is broken, or it came from Python.
        TrustError: It asks for code or a download that is not in `trust`.
    """
    path = directory / STUDENT if directory.is_dir() else directory
    if not path.exists():
        raise CheckpointError(
            f"The run {directory} has no finished student ({STUDENT}); go on with it first: didact resume {directory}"
        )
    tensors, facts = export.read(path)
    learner, like = export.rebuild(path, tensors, facts, build, trust=trust)
    return Saved(learner, facts["spec"], like)


def load_weights(directory: Path, learner: ModuleLearner) -> None:
    """Put the weights that `keep` wrote into a learner of the same architecture.

    Raises:
        CheckpointError: They are missing, broken, or of another architecture.
    """
    tensors, _ = files.read_tensors(directory / STUDENT)
    try:
        learner.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{directory / STUDENT} holds the weights of another learner: {error}.") from error


def is_run(directory: Path) -> bool:
    """Whether a directory is that of a didact run."""
    return (directory / STUDENT).is_file() or (directory / "metrics.jsonl").is_file()
