"""Batches: the input of methods, teachers and monitors."""

from collections.abc import Iterator, Mapping
from typing import Self

import torch
from torch import Tensor

from didact.errors import DataError

IGNORE = -100
"""The class label that means "no label here"; a missing regression target is NaN."""


def is_labelled(label: Tensor) -> Tensor:
    """Return a mask of the examples that have a label.

    Args:
        label: [B]; integers for classes (`IGNORE` is missing), floats for regression (NaN is missing).

    Returns:
        bool [B].
    """
    return ~label.isnan() if label.is_floating_point() else label != IGNORE


class Batch(Mapping[str, Tensor]):
    """A mapping of tensors with a common leading dimension B; always carries `id`.

    Usual keys: `x` (float inputs) or `input_ids` and `attention_mask` (int64 [B, T]); `label`; `id` (int64 [B], stable
    across epochs, orders and machines); in batches of a source, `row` (int64 [B], the position among all examples of
    the run, for tables with one row per example). The inputs of another view of the same examples are prefixed by its
    name: `strong.x`, `teacher.input_ids`; `view("strong")` makes them the plain inputs.

    Batches for language models are padded on the right: `input_ids` and `attention_mask` int64 [B, T];
    `completion_mask` bool [B, T], True for the tokens to learn (never the first of a row); where several
    sequences share a row, `segments` int64 [B, T], 0 for padding and 1, 2, ... for the first, second, ... sequence.
    Completions also have, in float32: `log_probs` [B, T] (of each completion token when it was sampled, at the sampling
    temperature and before any truncation; 0 elsewhere), `temperature` [B] (1 for greedy ones), `reward` [B] and `trust`
    [B] in [0, 1] (0 where every verifier abstained); and in int64 [B]: `group` (the id of the prompt) and `version`
    (the optimizer steps that the model had taken).
    """

    __slots__ = ("_tensors",)

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors if isinstance(tensors, dict) else dict(tensors)

    def __getitem__(self, key: str) -> Tensor:
        try:
            return self._tensors[key]
        except KeyError:
            raise DataError(f"The batch has no tensor {key!r}; it has {', '.join(sorted(self._tensors))}.") from None

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        """The number of tensors, as for any mapping; the number of examples is `size`."""
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Batch({', '.join(f'{k}: {t.dtype} {list(t.shape)}' for k, t in self._tensors.items())})"

    @property
    def label_weight(self) -> Tensor | None:
        """The weight of each example's class in a loss against labels, float [B]; None where all weigh the same."""
        return self._tensors.get("label_weight")

    @property
    def size(self) -> int:
        """The number of examples, B."""
        return self._tensors["id"].shape[0]

    def check(self) -> Self:
        """Raise `DataError` unless `id` is int64 and every tensor has the same leading dimension."""
        if "id" not in self._tensors:
            raise DataError("The batch has no tensor 'id'. Give each example a stable int64 id.")
        if self["id"].dtype != torch.int64 or self["id"].ndim != 1:
            raise DataError(f"The batch's 'id' is {self['id'].dtype} {list(self['id'].shape)}; it must be int64 [B].")
        for name, tensor in self._tensors.items():
            if tensor.ndim == 0 or tensor.shape[0] != self.size:
                raise DataError(
                    f"The batch's {name!r} has shape {list(tensor.shape)}, but its 'id' has {self.size} rows; "
                    "every tensor of a batch must have the same leading dimension."
                )
        return self

    def view(self, name: str) -> "Batch":
        """The same examples, with the inputs of the view `name` in place of the plain ones."""
        prefix = name + "."
        inputs = {key[len(prefix) :]: t for key, t in self._tensors.items() if key.startswith(prefix)}
        if not inputs:
            views = sorted({key.split(".")[0] for key in self._tensors if "." in key})
            raise DataError(f"The batch has no view {name!r}; it has {', '.join(views) or 'none'}.")
        return Batch({**{key: t for key, t in self._tensors.items() if "." not in key}, **inputs})

    def either(self, mask: Tensor, first: str, second: str) -> "Batch":
        """The same examples, with the inputs of the view `first` under a mask (bool [B]), and of `second` elsewhere."""
        one, other = self.view(first), self.view(second)
        under = {key: mask.view(-1, *[1] * (other[key].ndim - 1)) for key in other if f"{second}.{key}" in self}
        return Batch({**other, **{key: torch.where(under[key], one[key], other[key]) for key in under}})

    def only(self, mask: Tensor, name: str) -> tuple["Batch", Tensor]:
        """The view `name` of the examples under a mask (bool [B]), and their positions (int64 [K]).

        Finding them waits for the device.
        """
        positions = mask.nonzero()[:, 0]
        return self.view(name).select(positions), positions

    def split(self, size: int) -> list["Batch"]:
        """Cut into consecutive batches of at most `size` examples."""
        chunks = {key: tensor.split(size) for key, tensor in self._tensors.items()}
        return [Batch({key: parts[i] for key, parts in chunks.items()}) for i in range(-(-self.size // size))]

    def select(self, index: Tensor) -> "Batch":
        """The examples at the positions in `index` (int64 [K]) or under a mask (bool [B])."""
        return Batch({key: tensor[index] for key, tensor in self._tensors.items()})

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device; the copy does not wait for the device."""
        return Batch({key: tensor.to(device, non_blocking=True) for key, tensor in self._tensors.items()})
