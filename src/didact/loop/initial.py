"""Weights and optimizer as they were when a run began, for sources that restart them."""

import copy

import torch

from didact.types import Method, Source


class InitialState:
    """What a source that restarts the student or the optimizer at its boundaries will want again.

    It is taken before a run is resumed, from the parts that a resumed run is given as the first one was; so it is in no
    checkpoint. A source that restarts nothing costs nothing.

    Args:
        method: its modules are those that are trained.
        optimizer: before its first step.
        source: see `didact.types.Source`.
    """

    def __init__(self, method: Method, optimizer: torch.optim.Optimizer, source: Source) -> None:
        self.method, self.optimizer = method, optimizer
        kind = getattr(source, "restart", "no")
        modules = method.modules() if kind == "student" else {}
        self.weights = {name: copy.deepcopy(module.state_dict()) for name, module in modules.items()}
        self.moments = None if kind == "no" else copy.deepcopy(optimizer.state_dict())

    def restore(self) -> None:
        """Let begin anew what the source restarts."""
        modules = self.method.modules()
        for name, weights in self.weights.items():
            modules[name].load_state_dict(weights)
        if self.moments is not None:
            # Loading keeps the tensors that it is given, which the next steps would change.
            self.optimizer.load_state_dict(copy.deepcopy(self.moments))
