"""The student that a finished run delivered, by the run's directory or an exported file, for further training."""

from dataclasses import replace
from pathlib import Path

from didact.errors import ConfigError
from didact.learners import causal
from didact.parts import saved
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.parts.students import hf
from didact.types import Examples

FORM = "run:DIRECTORY | run:FILE.safetensors"
EXAMPLE = "runs/NAME"
PATHS = ("*/student.safetensors", "*/metrics.jsonl", "*.safetensors")


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The delivered student, with its weights."""
    if isinstance(purpose, ForQuestions):
        return _language(spec, purpose)
    found, like = saved.load(spec.argument, purpose.trust)
    if _kind(like) != _kind(purpose.examples):
        raise spec.error(f"it was taught on {_kind(like)}, and these data are {_kind(purpose.examples)}.")
    return replace(found, spec=spec.text)


def _kind(examples: Examples) -> str:
    """The kind of examples that a student fits, in words."""
    shape = "x".join(map(str, examples.shape))
    columns = ", ".join(column.name for column in examples.columns)
    classes = ", ".join(examples.classes) or "a number"
    return f"{examples.modality} of {shape} ({columns or 'no columns'}) with {classes} to predict"


def _language(spec: Spec, purpose: ForQuestions) -> Part:
    directory = Path(spec.argument) / "student"
    if not (directory / "config.json").is_file():
        raise ConfigError(
            f"{spec.subject}, which has no finished language model; finish the run first: didact resume {spec.argument}"
        )
    model = causal.load_causal(str(directory), purpose.dtype)
    origin = (Path(spec.argument),)
    return Part(model=model, spec=spec.text, rate=hf.rate_of(model), tokenizer=model.tokenizer, origin=origin)
