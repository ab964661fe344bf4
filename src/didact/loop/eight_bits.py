"""AdamW with moments of 8 bits, by torchao."""

from typing import Any

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import import_optional

_PARTS = ("codes", "scale")
"""The tensors that torchao's moments consist of; the map of their codes follows from whether they have a sign."""


def adamw_8bit(parameters: Any, **options: Any) -> torch.optim.Optimizer:
    """AdamW whose moments of large weights have 8 bits (Dettmers et al. 2022).

    Args:
        parameters: those that are trained, or torch's groups of them.
        options: of `torch.optim.AdamW`.

    Raises:
        MissingExtraError: torchao is not installed.
    """
    base: Any = import_optional("torchao.optim", "lowbit", "An optimizer of 8 bits", "torchao").AdamW8bit

    class AdamW8bit(base):
        """Its state is of plain tensors; rates are numbers, and nothing is compiled on a CPU."""

        def __init__(self) -> None:
            super().__init__(parameters, **options)
            self._set_rates(float)

        def _set_rates(self, kind: Any) -> None:
            for group in self.param_groups:
                group["lr"] = kind(group["lr"])

        def step(self, closure: Any = None) -> Any:
            self._set_rates(lambda rate: torch.tensor(float(rate)))
            eager = not self.param_groups[0]["params"][0].is_cuda
            with torch.compiler.set_stance("force_eager" if eager else "default"):
                found = super().step(closure)
            self._set_rates(float)
            return found

        def state_dict(self) -> State:
            found = super().state_dict()
            state = {key: {n: _plain(value) for n, value in kept.items()} for key, kept in found["state"].items()}
            return {**found, "state": state}

        def load_state_dict(self, state_dict: State) -> None:
            super().load_state_dict({**state_dict, "state": {}})
            every = [p for group in self.param_groups for p in group["params"]]
            for number, kept in state_dict["state"].items():
                parameter = every[number]
                fresh = {"exp_avg": True, "exp_avg_sq": False}
                self.state[parameter] = {
                    name: self._new_buffer(parameter, fresh[name]) if name in fresh else torch.tensor(0.0)
                    for name in kept
                }
                for name, value in kept.items():
                    _restore(self.state[parameter][name], value)

    return AdamW8bit()


def _plain(value: Any) -> Any:
    """A moment as its parts."""
    return {name: getattr(value, name) for name in _PARTS} if hasattr(value, "codes") else value


@torch.no_grad()
def _restore(moment: Any, kept: Any) -> None:
    """Take back the result of `_plain`."""
    for name in _PARTS if isinstance(kept, dict) else ():
        part: Tensor = getattr(moment, name)
        part.copy_(kept[name])
    if not isinstance(kept, dict):
        moment.copy_(kept)
