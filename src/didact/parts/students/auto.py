"""The default for the data: an mlp for a table, a cnn for images and series, else a transformer or decoder."""

from didact.parts.grammar import parse
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part

EXAMPLE = "auto"
OF_EXAMPLES = {"table": "mlp:64,64", "image": "cnn:16,32", "series": "cnn1d:32,64,32", "text": "transformer:2x64"}
OF_QUESTIONS = "decoder:4x128"


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The default student for the data, with its own spec."""
    text = OF_EXAMPLES[purpose.examples.modality] if isinstance(purpose, ForExamples) else OF_QUESTIONS
    return purpose.build(parse(text, spec.role, field=spec.field))
