"""Delivered students of runs, loaded from their files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from didact import files, trusting
from didact.documents import Document, read_object
from didact.errors import CheckpointError, ConfigError
from didact.learners import export
from didact.learners.facts import check_facts
from didact.parts.grammar import parse
from didact.parts.kinds import Spec, find
from didact.parts.part import ForExamples, brought_by
from didact.parts.python import as_student
from didact.parts.student import Student
from didact.types import Examples

STUDENT, FACTS, WEIGHTS = "student", "student.json", "weights.safetensors"
"""The directory in that of a run which holds what the run delivered, and the two files in it."""


def save(student: Student, path: Path) -> None:
    """Write a student into a directory, all of it or nothing: JSON, safetensors, and their checksums.

    Raises:
        OSError: The disk is full or not writable.
    """
    facts = {**export.describe(student.like), "spec": student.spec, "config": {}}
    with files.whole_directory(path) as made:
        (made / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        files.write_tensors(made / WEIGHTS, student.learner.state_dict(), {})


def load(place: str | Path, trust: tuple[str, ...] = (), *, module: nn.Module | None = None) -> Student:
    """Load a student, with its weights.

    Args:
        place: the directory of a finished run, the one in it that `save` wrote, or a file that `didact export` wrote.
        trust: code (`package.module:factory`) and downloads (`hf:NAME`) that the file may ask for.
        module: the net, where it is a module of your own, built as it was; it gets the weights.

    Returns:
        The student in evaluation mode.

    Raises:
        CheckpointError: There is none, it is broken, or it came from Python and no module is given.
        TrustError: Its file asks for code or a download that is not in `trust`.

    Examples:
        >>> run = didact.run("supervised", data="wine", student="mlp:4", steps=5, progress=False, directory="runs/wine")
        >>> student = didact.load("runs/wine")
        >>> student.predict([[13.2] * 13, [0.5] * 13]).labels == run.student.predict([[13.2] * 13, [0.5] * 13]).labels
        True
    """
    path = Path(place)
    file, tensors, facts = _read(path)
    like, text = export.blank_examples(facts), facts["spec"]
    if text is None and module is None:
        raise CheckpointError(
            f"{file} holds the weights of a module of your own; build that, and give it: didact.load(PATH, module=...)."
        )
    purpose = ForExamples(examples=like, field=str(file), trust=trust)
    try:
        model, tokenizer = None if module is None else as_student(module), None
        if model is None:
            with trusting.untrusted(file, trust):
                spec = parse(str(text), "student", field=str(file))
                _check_shapes(spec, purpose, tensors)
                model = purpose.build(spec).model
                tokenizer = brought_by(spec, like.shape[0])[0] if like.modality == "text" else None
        model.load_state_dict(tensors)
    except (RuntimeError, ConfigError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(". ")
        raise CheckpointError(f"{file} doesn't hold the weights of {text!r}: {reason}. Export it again.") from error
    run = next((run for run in (path, path.parent) if (run / STUDENT / FACTS).is_file()), None)
    origin = () if run is None else (run,)
    return Student(learner=model.eval(), like=like, spec=text, tokenizer=tokenizer, origin=origin)


def read_facts(place: str | Path) -> Examples:
    """Two blank examples of the kind that a student was taught on; see `load` for `place` and what is raised."""
    return export.blank_examples(_read(Path(place))[2])


def _read(path: Path) -> tuple[Path, dict[str, Tensor], Document]:
    """The file or directory of a student, its tensors, and what is said of it, which can be."""
    home = path / STUDENT if (path / STUDENT / FACTS).is_file() else path
    if home.is_file():
        return home, *export.read(home)
    if not (home / FACTS).is_file():
        raise CheckpointError(f"{path} has no finished student ({STUDENT}); finish it first: didact resume {path}")
    files.check_directory(home)
    try:
        facts = read_object(home / FACTS)
    except ValueError as error:
        raise CheckpointError(f"{home / FACTS} cannot be read: {error}. Export it again.") from error
    check_facts(home / FACTS, facts)
    return home, files.read_tensors(home / WEIGHTS)[0], facts


def _check_shapes(spec: Spec, purpose: ForExamples, tensors: Mapping[str, Tensor]) -> None:
    """Check the shapes of a built-in net against its weights before it is allocated.

    Raises:
        ConfigError: The shapes differ.
    """
    kinds = [find(one.role, one.kind) for one in spec.walk()]
    if any(kind.names or kind.paths for kind in kinds):
        return
    for one in spec.walk():
        if (depth := re.match(r"(\d+)x", one.argument)) and int(depth[1]) > len(tensors):
            raise ConfigError(f"there are {len(tensors)} tensors for {depth[1]} blocks")
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in purpose.build(spec).model.state_dict().items()}
    for name in wanted.keys() | tensors.keys():
        found = tensors[name].shape if name in tensors else None
        if wanted.get(name) != found:
            raise ConfigError(f"{name} is {found and list(found)}, where it takes {list(wanted.get(name, ())) or None}")
