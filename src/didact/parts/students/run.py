"""The student that a finished run delivered, by the run's directory or an exported file, for further training."""

from pathlib import Path

from didact.errors import ConfigError
from didact.learners import causal
from didact.parts import saved
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.parts.students import hf
from didact.preprocessing import TablePreprocessing
from didact.types import Examples

FORM = "run:DIRECTORY | run:FILE.safetensors"
EXAMPLE = "runs/NAME"
PATHS = ("*/student/student.json", "*/student.json", "*/metrics.jsonl", "*.safetensors")


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The delivered student, with its weights."""
    if isinstance(purpose, ForQuestions):
        return _language(spec, purpose)
    found = saved.load(spec.argument, purpose.trust)
    theirs, ours = _kind(found.like), _kind(purpose.examples)
    if theirs != ours:
        raise spec.error(f"it was taught on {theirs}, and these data are {ours}.")
    return Part(model=found.learner, spec=spec.text, tokenizer=found.tokenizer, origin=found.origin)


def taught_on(spec: Spec) -> Examples:
    """Two blank examples of the kind that it was taught on, by whose preprocessing others are read."""
    return saved.read_facts(spec.argument)


def _kind(examples: Examples) -> str:
    """The kind of examples that a student fits, in words."""
    shape = "x".join(map(str, examples.shape))
    known = examples.preprocessing
    columns = ", ".join(c.name for c in known.columns if c.width) if isinstance(known, TablePreprocessing) else ""
    classes = ", ".join(examples.classes) or "a number"
    return f"{examples.modality} of {shape} ({columns or 'no columns'}) with {classes} to predict"


def _language(spec: Spec, purpose: ForQuestions) -> Part:
    directory = Path(spec.argument) / "student"
    if not causal.is_saved(directory):
        raise ConfigError(
            f"{spec.subject}, which has no finished language model; finish the run first: didact resume {spec.argument}"
        )
    model = causal.load_causal(str(directory), purpose.dtype)
    origin = (Path(spec.argument),)
    return Part(model=model, spec=spec.text, rate=hf.rate_of(model), tokenizer=model.tokenizer, origin=origin)
