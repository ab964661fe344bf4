"""Whose signals a store holds: hashes of a teacher's weights or files, and of a tokenizer."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from didact.types import Question

_TEXT = "The 2 quick-brown foxes: 37+85=122, \\boxed{x}.\n\tdef f(n): return 'ß€'"
_TURNS = ({"role": "user", "content": _TEXT}, {"role": "assistant", "content": _TEXT})
_INSIDE = ("learner", "teacher", "teachers", "model")
"""The attributes under which teachers hold what answers in the end."""


def of_teacher(teacher: Any, files: Iterable[Path]) -> str:
    """A hash of the weights of all modules in a teacher, and of the contents of files that it was read from.

    Args:
        teacher: any; one behind a server has an `identity` of its own.
        files: of its spec; directories are passed over, as their weights are in the modules.

    Returns:
        32 hexadecimal digits; empty if it has neither weights nor files, so that nobody knows whether it is the same.
    """
    if isinstance(told := getattr(teacher, "identity", None), str):
        return told
    found, known = hashlib.blake2b(digest_size=16), False
    for module in _modules(teacher):
        for name, tensor in sorted(module.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            found.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
            known = True
    for path in sorted(files):
        if path.is_file():
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
            known = True
    return found.hexdigest() if known else ""


def _modules(teacher: Any) -> Iterator[nn.Module]:
    if isinstance(teacher, nn.Module):
        yield teacher
        return
    for name in _INSIDE:
        inner = vars(teacher).get(name) if hasattr(teacher, "__dict__") else None
        for one in inner if isinstance(inner, list | tuple) else (inner,):
            if one is not None:
                yield from _modules(one)


def of_tokenizer(tokenizer: Any) -> str:
    """A hash of what a tokenizer makes of a text with much in it, and of a conversation; 32 hexadecimal digits."""
    chat = Question(id=0, prompt=_TEXT, completion=_TEXT, messages=(_TURNS[0],))
    plain = Question(id=0, prompt=_TEXT, completion=_TEXT)
    told = [tokenizer.encode(_TEXT), *([tokenizer.prompt(one), tokenizer.completion(one)] for one in (plain, chat))]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()
