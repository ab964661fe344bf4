"""Learners by a spec: `mlp:64,64`, `cnn:16,32`, `transformer:2x64`, `hf:DIR`, `package.module:factory`."""

import importlib
import inspect
import re

import torch
from torch import nn

from didact import trusting
from didact.errors import ConfigError, nearest
from didact.learners import nets
from didact.learners.module import ModuleLearner
from didact.types import Examples

KINDS = {
    "mlp": "mlp:64,64 is two hidden layers of 64; mlp: alone is a linear model",
    "cnn": "cnn:16,32 is two convolutional blocks of 16 and 32 channels",
    "transformer": "transformer:2x64 is two blocks of width 64",
    "hf": "hf:DIRECTORY or hf:NAME is a Hugging Face classification model",
}
"""The built-in kinds of spec, with an example each."""


def build(spec: str, examples: Examples, *, seed: int = 0) -> ModuleLearner:
    """Make a freshly initialised learner that fits some data.

    Args:
        spec: one of `KINDS`, or `package.module:factory`, a function or class that returns an `nn.Module`. Of the
            keyword arguments `shape` (of one input), `outputs` (number of classes, or 1), `classes` (their names) and
            `examples`, it is given those that it takes.
        examples: what it will be taught on; gives shapes, the number of outputs, and means and deviations of inputs.
        seed: the only source of randomness of the initial weights; the global generator is left as it was.

    Returns:
        A learner on the CPU.

    Raises:
        ConfigError: a spec that is not understood, or does not fit the data.
    """
    kind, _, rest = spec.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "hf":
            from didact.learners import huggingface

            return huggingface.load_student(rest, examples)
        module = _sized(spec, kind, rest, examples) if kind in KINDS else _from_factory(spec, examples)
    return ModuleLearner(module)


def outputs_of(examples: Examples) -> int:
    """How many numbers a learner answers with: one a class, or a single one for a regression."""
    return len(examples.classes) if examples.task == "classification" else 1


def _sized(spec: str, kind: str, rest: str, examples: Examples) -> nn.Module:
    """A built-in net, or a sentence where there can be none of such a size."""
    try:
        return _built_in(spec, kind, rest, examples)
    except ConfigError:
        raise
    except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"learner is {spec!r:.200}, a net that cannot be made here: {reason[0]:.200}.") from error


def _built_in(spec: str, kind: str, rest: str, examples: Examples) -> nn.Module:
    if kind == "transformer":
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", rest)
        if match is None:
            raise ConfigError(f"learner is {spec!r}, but {KINDS[kind]}.")
        if examples.modality == "table" and len(examples.shape) != 1:
            raise ConfigError(
                f"learner is {spec!r}, but one input has the shape {list(examples.shape)}; over a table, a transformer "
                "needs rows of numbers. An mlp:64,64 would work."
            )
        return nets.transformer(int(match[1]), int(match[2]), examples, outputs_of(examples))
    if not re.fullmatch(r"(\d+(,\d+)*)?", rest) or 0 in (widths := [int(w) for w in rest.split(",") if w]):
        raise ConfigError(f"learner is {spec!r}, but {KINDS[kind]}.")
    if kind == "cnn" and (examples.modality != "image" or not widths):
        raise ConfigError(
            f"learner is {spec!r}, but the data are of the kind {examples.modality}; a convolutional net needs images "
            "and at least one width. For tables and text, mlp:64,64 or transformer:2x64 would work."
        )
    if kind == "mlp" and examples.modality == "text" and not widths:
        raise ConfigError(f"learner is {spec!r}, but over text an mlp needs the width of its embedding, as in mlp:64.")
    net = nets.mlp if kind == "mlp" else nets.cnn
    return net(widths, examples, outputs_of(examples))


def _from_factory(spec: str, examples: Examples) -> nn.Module:
    module_name, _, attribute = spec.partition(":")
    if not attribute or not re.fullmatch(r"[\w.]+", module_name):
        known = "; ".join(KINDS.values())
        raise ConfigError(
            f"learner is {spec!r}. {nearest(module_name, KINDS)} {known}; package.module:factory is yours."
        )
    trusting.check(spec, "code")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"learner is {spec!r}, which cannot be imported: {error}. {nearest(module_name, KINDS)}"
        ) from error
    offered = {
        "shape": examples.shape,
        "outputs": outputs_of(examples),
        "classes": examples.classes,
        "examples": examples,
    }
    wanted = inspect.signature(factory).parameters
    module = factory(**{name: value for name, value in offered.items() if name in wanted})
    if not isinstance(module, nn.Module):
        raise ConfigError(f"learner is {spec!r}, which returned {type(module).__name__}; it must return an nn.Module.")
    return module
