"""How a teacher's signals are stored: which outcomes are kept, and in how many bits.

Log-probabilities in 8 bits are companded: a code c in 0 to 255 stands for -24 (c / 255)^2 nats, so that steps are small
where probabilities are large: 0.0007 nats wide at 1, 0.04 at a probability of 0.37. Other numbers in 8 bits are whole
multiples of their row's largest one divided by 127. Derived here; no library's format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from didact.errors import ConfigError, TeacherError, check_choice, check_range
from didact.types import Signal, TopK
from didact.types.algebra import CHUNK, keep_top, to_tensors
from didact.types.scores import LOG_FLOOR

Kept = Literal["dense", "top_k", "sampled"]
KEPT: tuple[Kept, ...] = ("dense", "top_k", "sampled")
BITS = (8, 16, 32)
_FLOOR, _LEVELS, _STEPS = 24.0, 255, 127
_MOST_DRAWS = 255


@dataclass(frozen=True, slots=True)
class Form:
    """What is kept of a signal.

    Args:
        kept: `dense`, all of it; `top_k`, the likeliest outcomes and the probability of the rest; `sampled`, outcomes
            drawn with the teacher's probabilities, and how often, whose shares are unbiased (Anshumann et al. 2025,
            "Sparse logit sampling", where the proposal is the teacher itself).
        count: how many outcomes are kept, or drawn (at most 255); 0 for `dense`.
        bits: 8, 16 or 32 for each number; ids and counts have 8, 16 or 32, as they need.

    Raises:
        ConfigError: one of them is invalid; the message names it.
    """

    kept: Kept = "dense"
    count: int = 0
    bits: int = 16

    def __post_init__(self) -> None:
        check_choice("kept", self.kept, KEPT)
        check_choice("bits", str(self.bits), tuple(map(str, BITS)))
        if self.kept == "dense" and self.count:
            raise ConfigError(f"count is {self.count}, but kept='dense' keeps all outcomes; leave it out.")
        if self.kept != "dense":
            check_range("count", self.count, at_least=1)
        if self.kept == "sampled" and self.count > _MOST_DRAWS:
            raise ConfigError(f"count is {self.count}; draw at most {_MOST_DRAWS}, which are counted in one byte.")

    def reduce(self, signal: Signal, seed: int = 0) -> Signal:
        """The signal with the outcomes that are kept, a few rows at a time.

        Args:
            signal: any with probabilities, or of tensors alone for `dense`.
            seed: of the draws.
        """
        if self.kept == "dense":
            return signal
        return keep_top(signal, self.count) if self.kept == "top_k" else draw(signal, self.count, seed)


@torch.no_grad()
def draw(signal: Signal, count: int, seed: int) -> TopK:
    """Draw outcomes with a teacher's probabilities; the share of the draws that fell on one is an unbiased estimate.

    Args:
        signal: [...], with probabilities.
        count: draws for each row, N; at least 1.
        seed: the only source of randomness.

    Returns:
        [...] with N different outcomes each, of which those that were not drawn have the lowest log-probability; the
        tail is 0.
    """
    flat = signal.flatten().upcast()
    outcomes = flat.outcomes
    if outcomes is None:
        raise TeacherError(
            f"The teacher gives {type(signal).__name__}, of which nothing can be drawn; keep the likeliest outcomes "
            "(kept='top_k')."
        )
    count = min(count, outcomes)
    chance = torch.Generator(flat.device).manual_seed(seed)
    size = max(1, CHUNK // outcomes)
    ids, shares = [], []
    for at in range(0, max(1, flat.shape[0]), size):
        probs = flat.rows(slice(at, at + size)).log_softmax().exp()
        drawn = torch.multinomial(probs, count, replacement=True, generator=chance)
        hits = torch.zeros_like(probs).scatter_add_(-1, drawn, torch.ones_like(drawn, dtype=probs.dtype))
        found, places = hits.topk(count, -1)
        ids.append(places)
        shares.append((found / count).log().clamp(min=LOG_FLOOR))
    return TopK(
        ids=torch.cat(ids).unflatten(0, signal.shape),
        log_probs=torch.cat(shares).unflatten(0, signal.shape),
        tail=torch.zeros(signal.shape, device=flat.device),
        trust=signal.effective_trust,
    )


@dataclass(frozen=True, slots=True)
class Column:
    """How one tensor of a signal is stored."""

    code: Literal["plain", "companded", "scaled"]
    """As they are; as codes of log-probabilities; or as multiples of a number in another column, `NAME.scale`."""
    dtype: str
    """Of what is stored, as numpy names it."""
    shape: tuple[int, ...]
    """Of one row."""

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def width_in_bytes(self) -> int:
        """Bytes of a row, its scale included."""
        return self.width * np.dtype(self.dtype).itemsize + (2 if self.code == "scaled" else 0)


def columns_of(signal: Signal, form: Form, outcomes: int | None) -> dict[str, Column]:
    """How the tensors of a reduced signal are stored.

    Args:
        signal: [...], as `Form.reduce` returns it.
        form: its form.
        outcomes: the number of classes or tokens, V, which says how large an id may be; None where nobody knows.

    Raises:
        TeacherError: it consists of more than tensors.
    """
    lead = len(signal.shape)
    return {
        name: _column(name, tensor, tuple(tensor.shape[lead:]), form, outcomes)
        for name, tensor in to_tensors(signal).items()
    }


def _column(name: str, tensor: Tensor, shape: tuple[int, ...], form: Form, outcomes: int | None) -> Column:
    if not tensor.is_floating_point():
        small = outcomes is not None and outcomes <= 1 << 16
        return Column("plain", "int64" if name != "ids" else "uint16" if small else "uint32", shape)
    if name == "labels" or form.bits == 32:
        return Column("plain", "float32", shape)
    if form.bits == 16 or not shape:
        return Column("plain", "float16", shape)
    return Column("companded", "uint8", shape) if name == "log_probs" else Column("scaled", "int8", shape)


def encode(signal: Signal, columns: Mapping[str, Column]) -> dict[str, np.ndarray]:
    """The tensors of a signal as they are stored.

    Args:
        signal: [R], reduced.
        columns: see `columns_of`.

    Returns:
        By column an array [R, width], and the scales [R, 1] of those that are scaled.

    Raises:
        TeacherError: a tensor is missing, or has another shape.
    """
    tensors = to_tensors(signal)
    found: dict[str, np.ndarray] = {}
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
    if shapes != {name: column.shape for name, column in columns.items()}:
        raise TeacherError(
            f"The teacher gave {shapes}, and the cache holds { {n: c.shape for n, c in columns.items()} }; use a cache "
            "of its own for each kind of signal."
        )
    for name, column in columns.items():
        rows = tensors[name].detach().cpu().reshape(-1, column.width)
        if column.code == "companded":
            codes = (rows.float().clamp(-_FLOOR, 0.0).neg() / _FLOOR).sqrt().mul(_LEVELS).round()
            found[name] = codes.to(torch.uint8).numpy()
        elif column.code == "scaled":
            scale = (rows.float().abs().amax(-1, keepdim=True) / _STEPS).half()
            safe = torch.where(scale > 0, scale, 1.0).float()
            found[name] = (rows.float() / safe).round().clamp(-_STEPS, _STEPS).to(torch.int8).numpy()
            found[f"{name}.scale"] = scale.numpy()
        else:
            array = rows.float().numpy() if rows.is_floating_point() else rows.numpy()
            found[name] = array.astype(column.dtype)
    return found


def decode(stored: Mapping[str, np.ndarray], columns: Mapping[str, Column]) -> dict[str, Tensor]:
    """The tensors of a signal from what `encode` returned; float32 and int64, [R, ...]."""
    found: dict[str, Tensor] = {}
    for name, column in columns.items():
        array = stored[name]
        if column.code == "companded":
            rows = torch.from_numpy(array.astype(np.float32)).div_(_LEVELS).square_().mul_(-_FLOOR)
        elif column.code == "scaled":
            rows = torch.from_numpy(array.astype(np.float32)) * torch.from_numpy(
                stored[f"{name}.scale"].astype(np.float32)
            )
        else:
            rows = torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
        found[name] = rows.reshape(-1, *column.shape)
    return found


@torch.no_grad()
def loss_of(signal: Signal, stored: Signal) -> dict[str, float]:
    """What is lost by storing, on a few rows.

    Args:
        signal: [R], the teacher's.
        stored: [R], as it is read back.

    Returns:
        `kl`: the mean KL(teacher || stored) in nats, where what was left out is spread evenly over the other outcomes;
        `kl_kept`: the same over the kept outcomes and one more for all others, which is what a student sees that is
        taught by top-k; for representations `rms`: the root of the mean squared error over that of the mean square.
    """
    found: dict[str, float] = {}
    features = to_tensors(signal) if type(signal).__name__ == "Features" else {}
    errors = [
        float((to_tensors(stored)[name] - tensor.float().cpu()).square().mean() / tensor.float().square().mean())
        for name, tensor in features.items()
        if name.startswith("features.")
    ]
    if errors:
        found["rms"] = max(errors) ** 0.5
    outcomes = signal.outcomes
    if outcomes is None or (features and "logits" not in features):
        return found
    theirs, ours = signal.log_softmax().cpu().double(), stored.log_softmax(outcomes=outcomes).cpu().double()
    found["kl"] = _divergence(theirs, ours)
    if isinstance(stored, TopK):
        kept = theirs.gather(-1, stored.ids)
        rest = (1.0 - kept.exp().sum(-1)).clamp(min=1e-12).log()
        tail = stored.tail.double().clamp(min=1e-12).log()
        own = torch.cat([stored.log_probs.double(), tail.unsqueeze(-1)], -1)
        found["kl_kept"] = _divergence(torch.cat([kept, rest.unsqueeze(-1)], -1), own.log_softmax(-1))
    return found


def _divergence(theirs: Tensor, ours: Tensor) -> float:
    return float((theirs.exp() * (theirs - ours)).sum(-1).mean())
