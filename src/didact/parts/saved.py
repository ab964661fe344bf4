"""Students that a run delivered, built again from their files."""

from pathlib import Path

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
        trust: specs that the file may name although they name code or a download.

    Returns:
        The student in evaluation mode, and two blank examples of the kind that it was taught on.

    Raises:
        CheckpointError: There is none, it is broken, or it came from Python.
        ConfigError: Its file names code or a download that is not in `trust`.
    """
    path = Path(place)
    file = path / STUDENT if path.is_dir() else path
    if not file.exists():
        raise CheckpointError(
            f"The run {path} has no finished student ({STUDENT}); go on with it first: didact resume {path}"
        )

    def make(spec: str, like: Examples) -> ModuleLearner:
        purpose = ForExamples(examples=like, field=str(file), trust=trust)
        return purpose.open(spec, "student", origin="file").model

    model, like = export.load(file, make)
    spec = export.read(file)[1]["spec"]
    known = parse(spec, "student", origin="file", trust=trust)
    tokenizer = tokenizer_of(known, like.shape[0]) if like.modality == "text" else None
    origin = (path,) if path.is_dir() else ()
    return Part(model=model, spec=spec, tokenizer=tokenizer, origin=origin), like
