"""Weights that are read from files and stay as they are: a checkpoint holds their hash in their place."""

import copy
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from didact.documents import State
from didact.errors import CheckpointError

Learner = TypeVar("Learner")
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass
class _Content:
    """A parameter as it was read: how often torch had seen it written, the sum of its bits, and its hash."""

    writes: int
    bits: int
    hash: str = ""


_read: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""What is known of the parameters that came from files, each itself: a copy of one is not among them."""


def mark_frozen(module: nn.Module) -> None:
    """Note that the parameters of a module that require no gradient were read from files, which will be read again.

    `module_state` leaves them out for as long as nothing writes to them. Copies of the module are not marked, nor are
    buffers, which move in training mode. Only mark what a resumed run builds again with the same weights.

    Args:
        module: as it was read.
    """
    for parameter in module.parameters():
        if not parameter.requires_grad:
            _read[parameter] = _Content(parameter._version, _sum_bits(parameter))


def is_marked(parameter: nn.Parameter) -> bool:
    """Whether `mark_frozen` noted a parameter."""
    return parameter in _read


def copy_trained(module: Learner) -> Learner:
    """A deep copy of a module that shares its frozen parameters, those that require no gradient."""
    assert isinstance(module, nn.Module)
    return copy.deepcopy(module, {id(p): p for p in module.parameters() if not p.requires_grad})


def module_state(module: nn.Module) -> State:
    """The state of a module, with a hash in the place of each weight that `mark_frozen` noted and nothing changed.

    Args:
        module: may be on any device. Its hashes are computed once.

    Returns:
        As `module.state_dict()`, whose tensors these are; of a frozen weight 32 hexadecimal digits.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    frozen = {name: parameter for name, parameter in parameters.items() if _is_as_read(parameter)}
    return {name: _hash(frozen[name]) if name in frozen else kept for name, kept in module.state_dict().items()}


def load_module_state(module: nn.Module, state: State) -> None:
    """Take back what `module_state` gave.

    Args:
        module: changed in place; frozen weights that are as they were are not written to.
        state: with tensors, and hashes of weights that must be there already.

    Raises:
        CheckpointError: a frozen weight is not what it was.
        RuntimeError: the state is of another module.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    kept = {name: value for name, value in state.items() if not _is_there(name, parameters.get(name), value)}
    if len(kept) == len(state):
        module.load_state_dict(state)
        return
    found = module.load_state_dict(kept, strict=False)
    if wrong := [*found.unexpected_keys, *sorted(set(found.missing_keys) - state.keys())]:
        raise RuntimeError(f"the state and the module differ in {', '.join(wrong[:3])}")


def _is_there(name: str, parameter: Tensor | None, kept: Tensor | str) -> bool:
    """Whether a weight need not be loaded, as it is frozen and what it was."""
    if isinstance(kept, str):
        if parameter is None or _hash(parameter) != kept:
            raise CheckpointError(
                f"{name} is frozen, and was read from a file that has changed or is another one: the checkpoint knows "
                f"its weights by the hash {kept}"
            )
        return True
    if parameter is None or not _is_as_read(parameter) or parameter.shape != kept.shape:
        return False
    return torch.equal(parameter, kept.to(parameter))


def _is_as_read(parameter: Tensor) -> bool:
    """Whether a parameter was read from a file and has not changed."""
    content: _Content | None = _read.get(parameter)
    if content is None or parameter.requires_grad or parameter._version != content.writes:
        return False
    # What is written through `.data` is not counted as a write.
    return _sum_bits(parameter) == content.bits


def _sum_bits(parameter: Tensor) -> int:
    """The sum of a tensor's memory, taken for integers; one pass over it, on its device."""
    size, start = parameter.element_size(), parameter.storage_offset()
    # torch's sum copies narrower integers to int64, which may take twice the weights' memory.
    wide = parameter.is_contiguous() and size * parameter.numel() % 8 == 0 and size * start % 8 == 0
    return int(_bits(parameter, 8 if wide else size).sum(dtype=torch.int64))


def _hash(parameter: Tensor) -> str:
    """A hash of a tensor's shape, type and content, of 32 hexadecimal digits."""
    content: _Content | None = _read.get(parameter) if _is_as_read(parameter) else None
    if content is not None and content.hash:
        return content.hash
    digest = blake2b(f"{tuple(parameter.shape)} {parameter.dtype} ".encode(), digest_size=16)
    digest.update(_bits(parameter.cpu(), 1).numpy().data)
    if content is not None:
        content.hash = digest.hexdigest()
    return digest.hexdigest()


def _bits(tensor: Tensor, size: int) -> Tensor:
    """A tensor's memory as integers of so many bytes, in one dimension."""
    return tensor.detach().contiguous().view(-1).view(_INTEGERS.get(size, torch.int64))
