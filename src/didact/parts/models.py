"""Models by their specs, for those who put things together themselves."""

from typing import Any

import torch

from didact.errors import ConfigError
from didact.learners import CausalLearner, ModuleLearner
from didact.parts.part import ForExamples, ForQuestions, Purpose
from didact.types import Examples


def build(spec: str, examples: Examples, *, seed: int = 0) -> ModuleLearner:
    """Make a student that fits some data.

    Args:
        spec: such as `mlp:64,64`; `didact list students` prints what there is.
        examples: what it will be taught on; they give shapes, classes, and means and deviations of inputs.
        seed: the only source of the weights that are drawn; the global generator is left as it was.

    Returns:
        A learner on the CPU.

    Raises:
        ConfigError: A spec that is not understood, does not fit the data, or asks for training first.
    """
    return _model(spec, ForExamples(examples=examples, seed=seed))


def build_causal(spec: str, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> CausalLearner:
    """Make a causal language model.

    Args:
        spec: such as `decoder:4x128` or `hf:DIRECTORY`; `didact list students` prints what there is.
        seed: the only source of weights that are drawn: a decoder's, and those of adapters.
        dtype: of the weights.

    Returns:
        The model on the CPU, in training mode where it is new and in evaluation mode where it was loaded.

    Raises:
        ConfigError: A spec that is not understood or asks for training first, or a model that can't be used.
        MissingExtraError: transformers or peft is needed and not installed.
    """
    return _model(spec, ForQuestions(seed=seed, dtype=dtype))


def _model(spec: str, purpose: Purpose) -> Any:
    part = purpose.open(spec, "student")
    if part.warm_starts:
        raise ConfigError(f"student is {spec!r}, which is trained first; that takes a run. Give the student alone.")
    return part.model
