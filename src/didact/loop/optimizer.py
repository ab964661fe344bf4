"""The optimizer and the schedule of its learning rate."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from didact.errors import check_choice, check_range

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

_CLASSES = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Which optimizer, and how its learning rate moves over the budget.

    Raises:
        ConfigError: an unknown name, or a number out of range.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3  # the highest learning rate
    weight_decay: float = 0.01  # decoupled for adamw, added to the gradient for the others
    momentum: float = 0.9  # of sgd (Nesterov), and beta1 of the others
    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # how the rate falls to zero, or that it does not
    warmup: float = 0.0  # share of the budget over which the rate rises from zero

    def __post_init__(self) -> None:
        check_choice("optimizer", self.name, _CLASSES)
        check_range("lr", self.lr, above=0.0)
        check_range("weight_decay", self.weight_decay, at_least=0.0)
        check_range("momentum", self.momentum, at_least=0.0, below=1.0)
        check_choice("schedule", self.schedule, ("cosine", "linear", "constant"))
        check_range("warmup", self.warmup, at_least=0.0, below=1.0)

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimizer, with its update fused into one kernel."""
        kwargs: dict[str, object] = {"lr": self.lr, "weight_decay": self.weight_decay, "fused": True}
        if self.name == "sgd":
            kwargs |= {"momentum": self.momentum, "nesterov": self.momentum > 0}
        else:
            kwargs["betas"] = (self.momentum, 0.999)
        optimizer = _CLASSES[self.name](parameters, **kwargs)
        if self.name == "sgd" and self.momentum:
            # torch's fused kernel fails where some parameters get their first gradient later than others; starting
            # from a momentum of zero is the same.
            for parameter in parameters:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer

    def factor(self, fraction: float) -> float:
        """What the learning rate is multiplied by when this fraction of the budget is used.

        The schedule falls over what is left after the warm-up.
        """
        if fraction < self.warmup:
            return fraction / self.warmup
        if self.schedule == "constant":
            return 1.0
        done = min(1.0, (fraction - self.warmup) / (1.0 - self.warmup))
        return 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def skips_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer's kernel can be told, on the device, to leave the weights alone (`found_inf`)."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return fused and "found_inf" in inspect.getsource(type(optimizer))
