"""Any `nn.Module` as a learner: its inputs, taps and head."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from didact.errors import ConfigError, DataError
from didact.types import Batch, Output


class _Tap:
    """A forward hook that stores the output of a module.

    An object rather than a closure, so that a deep copy of a learner gets taps of its own.
    """

    def __init__(self, store: dict[str, Tensor], name: str) -> None:
        self.store, self.name = store, name

    def __call__(self, _module: nn.Module, _args: tuple[Any, ...], result: Any) -> None:
        self.store[self.name] = result if isinstance(result, Tensor) else result[0]


class _HeadTap(_Tap):
    """A forward pre-hook that stores the input of a module."""

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], _result: Any = None) -> None:
        self.store[self.name] = args[0]


HIDDEN = "hidden"
"""The tap for the input of the head, whatever the names of a net's modules."""


class ModuleLearner(nn.Module):
    """Makes any module a learner, unchanged.

    Args:
        module: takes the inputs and returns logits [B, C] (or [B, 1] for a regression): as a tensor, as a mapping with
            `logits`, or as an object with a `logits` attribute, as Hugging Face models do.
        inputs: the batch's tensors that are passed to the module, a single one by position, several by keyword. By
            default `x`, or `input_ids` with `attention_mask` where the batch has no `x`.
        taps: names of submodules (as in `module.named_modules()`) whose outputs are put into `Output.features`, or
            `hidden` for the input of the head.
        head: name of the last linear layer; `auto` takes the last `nn.Linear` of the module, None means no head.

    Raises:
        ConfigError: a tap or a head that the module does not have; the message lists candidates.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        inputs: Sequence[str] | None = None,
        taps: Sequence[str] = (),
        head: str | None = "auto",
    ) -> None:
        super().__init__()
        self.module = module
        self.inputs = None if inputs is None else tuple(inputs)
        self.taps: tuple[str, ...] = ()
        self._store: dict[str, Tensor] = {}
        linears = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
        if head not in (None, "auto", *linears):
            raise ConfigError(f"head is {head!r}, but the module's linear layers are: {', '.join(linears) or 'none'}.")
        self._head_name = (linears[-1] if linears else None) if head == "auto" else head
        if self._head_name is not None:
            module.get_submodule(self._head_name).register_forward_pre_hook(_HeadTap(self._store, ""))
        self.tap(*taps)

    @property
    def head(self) -> nn.Linear | None:
        """The last linear layer, whose input is `Output.hidden`; None where there is none."""
        if self._head_name is None:
            return None
        head = self.module.get_submodule(self._head_name)
        assert isinstance(head, nn.Linear)
        return head

    def candidates(self) -> list[str]:
        """The names that can be tapped: `hidden`, where there is a head, and the submodules."""
        names = [name for name, _ in self.module.named_modules() if name]
        return [HIDDEN, *names] if self.head is not None else names

    def tap(self, *names: str) -> None:
        """From now on, put the outputs of these submodules into `Output.features`.

        Raises:
            ConfigError: there is no such submodule; the message lists the existing ones, the nearest first.
        """
        known = self.candidates() if names else []
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=max(1, len(known)), cutoff=0.0)
                shown = ", ".join(near[:12]) + (f" and {len(near) - 12} more" if len(near) > 12 else "")
                raise ConfigError(
                    f"tap is {name!r}, which the model does not have. It has: {shown or 'no submodules'}."
                )
            if name in self.taps:
                continue
            if name != HIDDEN:
                self.module.get_submodule(name).register_forward_hook(_Tap(self._store, name))
            self.taps = (*self.taps, name)

    def forward(self, batch: Batch) -> Output:
        """Compute the output for a batch: logits [B, C], features of the taps, and the input of the head [B, D].

        Raises:
            ConfigError: the module failed, and has weights of another type than float32.
        """
        names = self.inputs or (("x",) if "x" in batch else ("input_ids", "attention_mask"))
        one = len(names) == 1
        try:
            result = self.module(batch[names[0]]) if one else self.module(**{name: batch[name] for name in names})
        except RuntimeError:
            self._refuse_types()
            raise
        logits = result if isinstance(result, Tensor) else _logits_of(result)
        hidden = self._store.pop("", None)
        features: dict[str, Tensor] = {}
        for name in self.taps:
            tapped = hidden if name == HIDDEN else self._store.pop(name)
            assert tapped is not None
            features[name] = tapped
        return Output(logits, features, hidden if hidden is not None and hidden.ndim == 2 else None)

    def _refuse_types(self) -> None:
        """After a failure, refuse weights of another type than float32, which is that of inputs."""
        for name, weight in self.module.named_parameters():
            if weight.is_floating_point() and weight.dtype != torch.float32:
                raise ConfigError(
                    f"The {type(self.module).__name__} has weights of {weight.dtype} ({name}), but inputs are float32; "
                    "call module.float() first, or let its forward convert them."
                )


def _logits_of(result: Any) -> Tensor:
    logits = result.get("logits") if isinstance(result, Mapping) else getattr(result, "logits", None)
    if not isinstance(logits, Tensor):
        raise DataError(
            f"The model returned {type(result).__name__}, which holds no logits; a learner's module must return a "
            "tensor [B, C], or something with `logits`."
        )
    return logits
