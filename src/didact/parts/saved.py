"""Delivered students of runs, loaded from their files."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from didact import trusting
from didact.errors import CheckpointError, ConfigError
from didact.learners import export
from didact.parts.grammar import parse
from didact.parts.kinds import Spec, find
from didact.parts.part import ForExamples, Part, tokenizer_of
from didact.types import Examples

STUDENT = "student.safetensors"
"""The file of the delivered student in a run's directory."""


def load(place: str | Path, trust: tuple[str, ...] = ()) -> tuple[Part, Examples]:
    """Load a run's student with its weights.

    Args:
        place: the directory of a finished run, or a file written by `didact export`.
        trust: code (`package.module:factory`) and downloads (`hf:NAME`) that the file may use.

    Returns:
        The student in evaluation mode, and two blank examples like its training data.

    Raises:
        CheckpointError: There is none, it is broken, or it came from Python.
        TrustError: The file names code or a download that is not in `trust`.
    """
    path = Path(place)
    file = path / STUDENT if path.is_dir() else path
    if not file.exists():
        raise CheckpointError(
            f"The run {path} has no finished student ({STUDENT}); finish it first: didact resume {path}"
        )
    tensors, facts = export.read(file)
    like, text = export.blank_examples(facts), facts["spec"]
    if text is None:
        raise CheckpointError(
            f"{file} holds the weights of a module of your own; build that, and load the tensors of `export.read`."
        )
    purpose = ForExamples(examples=like, field=str(file), trust=trust)
    try:
        with trusting.untrusted(file, trust):
            spec = parse(text, "student", field=str(file))
            _check_shapes(spec, purpose, tensors)
            model = purpose.build(spec).model
            tokenizer = tokenizer_of(spec, like.shape[0]) if like.modality == "text" else None
        model.load_state_dict(tensors)
    except (RuntimeError, ConfigError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(". ")
        raise CheckpointError(f"{file} doesn't hold the weights of {text!r}: {reason}. Export it again.") from error
    origin = (path,) if path.is_dir() else ()
    return Part(model=model.eval(), spec=text, tokenizer=tokenizer, origin=origin), like


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
