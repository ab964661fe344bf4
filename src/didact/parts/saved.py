"""Students that a run delivered, built again from their files."""

from pathlib import Path

from didact import trusting
from didact.errors import CheckpointError
from didact.learners import export
from didact.learners.module import ModuleLearner
from didact.parts.grammar import parse
from didact.parts.part import ForExamples, Part, tokenizer_of
from didact.types import Examples

STUDENT = "student.safetensors"
"""The file in a run's directory that holds what the run delivered."""


def load(place: str | Path, trust: tuple[str, ...] = ()) -> tuple[Part, Examples]:
    """Build a run's student again, with its weights.

    Args:
        place: the directory of a finished run, or a file that `didact export` wrote.
        trust: code (`package.module:factory`) and downloads (`hf:NAME`) that the file may ask for.

    Returns:
        The student in evaluation mode, and two blank examples of the kind that it was taught on.

    Raises:
        CheckpointError: There is none, it is broken, or it came from Python.
        TrustError: Its file asks for code or a download that is not in `trust`.
    """
    path = Path(place)
    file = path / STUDENT if path.is_dir() else path
    if not file.exists():
        raise CheckpointError(
            f"The run {path} has no finished student ({STUDENT}); go on with it first: didact resume {path}"
        )

    def make(spec: str, like: Examples) -> ModuleLearner:
        purpose = ForExamples(examples=like, field=str(file), trust=trust)
        return purpose.open(spec, "student").model

    tensors, facts = export.read(file)
    model, like = export.rebuild(file, tensors, facts, make, trust=trust)
    spec = facts["spec"]
    with trusting.untrusted(file, trust):
        tokenizer = tokenizer_of(parse(spec, "student"), like.shape[0]) if like.modality == "text" else None
    origin = (path,) if path.is_dir() else ()
    return Part(model=model, spec=spec, tokenizer=tokenizer, origin=origin), like
