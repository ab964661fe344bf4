"""Models by their specs, for custom training code."""

from typing import Any

import torch

from didact.errors import ConfigError
from didact.learners import CausalLearner, ModuleLearner
from didact.parts.part import ForExamples, ForQuestions, Purpose
from didact.types import Examples


def build(spec: str, examples: Examples, *, seed: int = 0) -> ModuleLearner:
    """Build a student for some data.

    Args:
        spec: such as `mlp:64,64`; `didact list students` prints the kinds.
        examples: its training data, which give shapes, classes, and means and standard deviations of the inputs.
        seed: the only source of the initial weights; the global generator is unchanged.

    Returns:
        A learner on the CPU.

    Raises:
        ConfigError: The spec is invalid, does not fit the data, or requires a warm start.
    """
    return _model(spec, ForExamples(examples=examples, seed=seed))


def build_causal(spec: str, *, seed: int = 0, dtype: torch.dtype | None = None) -> CausalLearner:
    """Build a causal language model.

    Args:
        spec: such as `decoder:4x128` or `hf:DIRECTORY`; `didact list students` prints the kinds.
        seed: the only source of the initial weights of a decoder or of adapters.
        dtype: of the weights; None for the stored one.

    Returns:
        The model on the CPU, in training mode if it is new and in evaluation mode if it was loaded.

    Raises:
        ConfigError: The spec is invalid or requires a warm start, or the model cannot be used.
        MissingExtraError: transformers or peft is needed and not installed.
    """
    return _model(spec, ForQuestions(seed=seed, dtype=dtype))


def _model(spec: str, purpose: Purpose) -> Any:
    part = purpose.open(spec, "student")
    if part.warm_starts:
        raise ConfigError(f"student is {spec!r}, whose warm start needs a run. Give the student without it.")
    return part.model
