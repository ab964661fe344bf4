"""The optimizer and the schedule of its learning rate."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from didact.documents import Document, State
from didact.errors import check_choice, check_range
from didact.loop import foreach
from didact.loop.eight_bits import adamw_8bit

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
"""Parameters, or torch's groups of them."""
OptimizerFactory = Callable[[Any], torch.optim.Optimizer]
"""A function from `Parameters` to an optimizer."""


class LeanAdamW(torch.optim.AdamW):
    """torch's fused AdamW, with a step that does not collect its state each time.

    Collecting it, and other overhead around the kernel, takes half of a small net's optimizer step. State, kernel and
    arithmetic are torch's own.
    """

    def __init__(self, params: Parameters, **kwargs: Any) -> None:
        super().__init__(params, **kwargs, fused=True)
        self._gathered: tuple[list[Tensor], list[Tensor], list[Tensor]] | None = None

    def advance(self, gradients: list[Tensor]) -> None:
        """Take a step, as `step` does.

        Args:
            gradients: of the parameters that have one, in order.
        """
        (group,) = self.param_groups
        if self._gathered is None or len(gradients) < len(group["params"]):
            self.step()
            self._gather()
            return
        averages, squares, steps = self._gathered
        (beta1, beta2), found_inf = group["betas"], getattr(self, "found_inf", None)
        with torch.no_grad():
            foreach.add(steps, 1)
            foreach.adamw(
                group["params"],
                gradients,
                averages,
                squares,
                [],
                steps,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                grad_scale=None,
                found_inf=found_inf,
            )
            if found_inf is not None:
                # A step that the kernel skipped does not count.
                foreach.subtract(steps, [found_inf] * len(steps))

    def load_state_dict(self, state_dict: State) -> None:
        """Restore the result of `state_dict`."""
        super().load_state_dict(state_dict)
        self._gathered = None

    def _gather(self) -> None:
        """Keep the state in lists, once every parameter has one, if one kernel can process them all."""
        parameters = self.param_groups[0]["params"]
        states = [self.state[p] for p in parameters]
        if all(states) and len({(p.device, p.dtype) for p in parameters}) == 1:
            names = ("exp_avg", "exp_avg_sq", "step")
            first, second, third = ([state[name] for state in states] for name in names)
            self._gathered = (first, second, third)


RATE, DECAY = 1e-3, 0.01
"""The default learning rate and weight decay."""
_CLASSES = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Options of the optimizer and of the schedule of its learning rate.

    Raises:
        ConfigError: an unknown name, or a number out of range.
    """

    FLAGS: ClassVar[Mapping[str, str]] = {"name": "optimizer"}

    name: Literal["adamw", "adam", "sgd", "adamw8bit"] = "adamw"  # what makes the steps; adamw8bit needs torchao
    lr: float | None = None  # the highest learning rate; by default what suits the student
    weight_decay: float | None = None  # decoupled for adamw; 0 for language models, else 0.01
    momentum: float = 0.9  # of sgd (Nesterov), and beta1 of the others
    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # how the rate falls to zero, or that it does not
    warmup: float = 0.0  # share of the budget over which the rate rises from zero

    def __post_init__(self) -> None:
        check_choice("optimizer", self.name, ("adamw", *_CLASSES, "adamw8bit"))
        if self.lr is not None:
            check_range("lr", self.lr, above=0.0, below=math.inf)
        if self.weight_decay is not None:
            check_range("weight_decay", self.weight_decay, at_least=0.0, below=math.inf)
        check_range("momentum", self.momentum, at_least=0.0, below=1.0)
        check_choice("schedule", self.schedule, ("cosine", "linear", "constant"))
        check_range("warmup", self.warmup, at_least=0.0, below=1.0)

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer, with its update fused into one kernel."""
        decay = DECAY if self.weight_decay is None else self.weight_decay
        kwargs: Document = {"lr": RATE if self.lr is None else self.lr, "weight_decay": decay}
        if self.name == "adamw":
            return LeanAdamW(parameters, betas=(self.momentum, 0.999), **kwargs)
        if self.name == "adamw8bit":
            return adamw_8bit(parameters, betas=(self.momentum, 0.999), **kwargs)
        if self.name == "sgd":
            kwargs |= {"momentum": self.momentum, "nesterov": self.momentum > 0}
        else:
            kwargs["betas"] = (self.momentum, 0.999)
        optimizer = _CLASSES[self.name](parameters, fused=True, **kwargs)
        if self.name == "sgd" and self.momentum:
            # torch's fused kernel fails if some parameters get their first gradient later than others; starting from a
            # momentum of zero is equivalent.
            for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer

    def factor(self, fraction: float) -> float:
        """The factor of the learning rate when this fraction of the budget is used.

        After the warm-up, the schedule covers the rest of the budget.
        """
        if fraction < self.warmup:
            return fraction / self.warmup
        if self.schedule == "constant":
            return 1.0
        done = min(1.0, (fraction - self.warmup) / (1.0 - self.warmup))
        return 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def restore(optimizer: torch.optim.Optimizer, state: Document) -> None:
    """Restore the result of `optimizer.state_dict`, with each moment in the memory layout of its parameter.

    A checkpoint has row-major values, while fused kernels go through a parameter and its moments in order of memory; a
    moment in another layout would be applied to the wrong weights.

    Args:
        optimizer: of parameters in any layout, such as `channels_last`.
        state: from a checkpoint.

    Raises:
        ValueError: the state belongs to other parameters, or to another optimizer.
    """
    for kept, own in zip(state["param_groups"], optimizer.param_groups, strict=True):
        if kept.keys() != own.keys():
            differing = ", ".join(sorted(kept.keys() ^ own.keys()))
            raise ValueError(f"the state is of another optimizer, which differs in {differing}")
    optimizer.load_state_dict(state)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def skips_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer's kernel can skip an update by a flag on the device (`found_inf`)."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    kind = LeanAdamW.__base__ if isinstance(optimizer, LeanAdamW) else type(optimizer)
    return fused and kind in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)
