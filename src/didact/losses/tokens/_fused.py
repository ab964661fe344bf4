"""The head of a vocabulary fused with the loss on its scores, a few tokens at a time.

The scores of all tokens, [N, V], never exist at once: those of a chunk are computed, turned into losses and, in the
same memory, into their gradient, and multiplied into the gradients of hidden states and head. Products accumulate in
float32 (or float64) whatever the dtype of their operands.

Axis letters: N tokens, R those of a chunk or block, V vocabulary, D width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from didact.errors import ConfigError, check_range
from didact.losses._precision import full_precision
from didact.types import LOG_FLOOR, Head, Term

CHUNK = 2**24
"""Scores per chunk on a CPU, the result of one matrix product: enough rows to keep it busy."""
ACCELERATOR_CHUNK = 2**26
"""Scores per chunk elsewhere, where reading a weight takes as long as multiplying many more rows by it."""
BLOCK = 2**18
"""Scores per block of elementwise operations on a CPU, so that intermediate results stay in the cache."""
DENSE = 2**23
"""The number of scores up to which keeping them all is faster than chunks."""

Objective = Callable[[Tensor, slice], Tensor]
"""Takes the scores [R, V] of some tokens, replaces them by the losses' gradient, and returns the losses [R]."""


@dataclass(frozen=True, slots=True)
class ScoreScaling:
    """The map from products of states and a head's weight to scores over a temperature."""

    scale: float
    softcap: float | None
    temperature: float | Tensor
    operand: torch.dtype

    @property
    def full(self) -> torch.dtype:
        """The dtype of scores and sums."""
        return torch.promote_types(self.operand, torch.float32)

    def growth(self) -> float | Tensor:
        """The derivative of scores with respect to their products, without a cap: one number, or [N, 1]."""
        if isinstance(self.temperature, Tensor):
            return self.scale / self.temperature.to(self.full).unsqueeze(1)
        return self.scale / self.temperature


def fused_loss(
    hidden: Tensor, head: Head, objective: Objective, weight: Tensor | None, *, temperature: float = 1.0
) -> Term:
    """The sum of a loss on the scores of each token, with gradients computed in the forward pass.

    Args:
        hidden: float [N, D].
        head: of V ids; its weight and bias get a gradient where they require one.
        objective: called with float32 (or float64) scores over the temperature.
        weight: float [N], of each token; None for 1 each.
        temperature: above 0; the loss is multiplied by its square.

    Returns:
        The sum; the rows of the term are those of tokens, float [N].
    """
    check_range("temperature", temperature, above=0.0)
    check_fit(hidden, head)
    fused = ScoreScaling(head.scale, head.softcap, temperature, operand_type(hidden, head))
    if weight is not None:
        weight = weight.detach().to(fused.full)
    value, each = _Summed.apply(*_inputs(hidden, head), weight, fused, objective)
    scale = float(temperature) ** 2
    count = len(hidden) if weight is None else weight.sum()
    return Term(rescale(value, scale), count, rows=lambda: rescale(each, scale))


def fused_log_probs(
    hidden: Tensor, head: Head, targets: Tensor, *, temperature: float | Tensor, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """The log-probability of each target, float32 (or float64) [N], and the entropy of each distribution if wanted."""
    fused = ScoreScaling(head.scale, head.softcap, temperature, operand_type(hidden, head))
    check_fit(hidden, head)
    if is_small(hidden, head):
        return _dense_log_probs(hidden, head, targets, fused, entropy)
    return _LogProbs.apply(*_inputs(hidden, head), targets, fused, entropy)


def is_small(hidden: Tensor, head: Head) -> bool:
    """Whether all scores are kept."""
    return len(hidden) * head.vocabulary <= DENSE


def _dense_log_probs(
    hidden: Tensor, head: Head, targets: Tensor, fused: ScoreScaling, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    full = Head(
        head.weight.to(fused.full), None if head.bias is None else head.bias.to(fused.full), head.scale, head.softcap
    )
    with full_precision(hidden):
        scores = full(hidden.to(fused.full))
    if isinstance(fused.temperature, Tensor):
        scores = scores / fused.temperature.to(fused.full).unsqueeze(1)
    elif fused.temperature != 1.0:
        scores = scores / fused.temperature
    log_probs = torch.log_softmax(scores, -1)
    chosen = log_probs.gather(1, targets.unsqueeze(1)).squeeze(1)
    return chosen, -torch.linalg.vecdot(log_probs.exp(), log_probs.clamp_min(LOG_FLOOR)) if entropy else None


def check_fit(hidden: Tensor, head: Head) -> None:
    """Raise `ConfigError` unless hidden states and head have the same width."""
    if hidden.ndim != 2 or hidden.shape[1] != head.weight.shape[1]:
        raise ConfigError(
            f"hidden has shape {list(hidden.shape)}, and the head's weight {list(head.weight.shape)}; "
            "they must be [N, D] and [V, D]."
        )


def _inputs(hidden: Tensor, head: Head) -> tuple[Tensor, Tensor, Tensor | None]:
    if torch.is_grad_enabled():
        return hidden, head.weight, head.bias
    return hidden.detach(), head.weight.detach(), None if head.bias is None else head.bias.detach()


def operand_type(hidden: Tensor, head: Head) -> torch.dtype:
    """The dtype of the factors of matrix products; a short one only where products can accumulate in float32."""
    kind = hidden.device.type
    mixed = torch.is_autocast_enabled(kind)
    wanted = torch.get_autocast_dtype(kind) if mixed else torch.promote_types(hidden.dtype, head.weight.dtype)
    return wanted if wanted.itemsize >= 4 or kind == "cuda" else torch.float32


def cache_blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of several tensors, few enough for the cache on a CPU; the first has the most columns."""
    size = max(1, BLOCK // tensors[0].shape[1]) if tensors[0].device.type == "cpu" else len(tensors[0])
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


class Projection:
    """Computes the scores of one chunk of tokens after another in the same memory."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, fused: ScoreScaling) -> None:
        self.hidden, self.fused = hidden, fused
        self.weight = weight.to(fused.operand)
        self.bias = None if bias is None else bias.to(fused.full)
        self.growth = fused.growth()
        # Scaling the states is cheaper than scaling the scores; a cap must come before the temperature.
        self.before = self.growth if fused.softcap is None else fused.scale / fused.softcap
        self.ceiling = self.growth / self.before
        self.states = rescale(hidden.to(fused.full), self.before).to(fused.operand)
        self.memory = hidden.new_empty(0, dtype=fused.full)

    def chunks(self) -> Iterator[slice]:
        """The slices of tokens whose scores are computed at once."""
        scores = CHUNK if self.states.device.type == "cpu" else ACCELERATOR_CHUNK
        rows, size = len(self.states), max(1, scores // len(self.weight))
        return (slice(start, min(start + size, rows)) for start in range(0, rows, size))

    def scores(self, rows: slice) -> Tensor:
        """Scores over the temperature [R, V] of some tokens; the next call overwrites them."""
        size = rows.stop - rows.start
        if len(self.memory) < size:
            self.memory = self.memory.new_empty(size, len(self.weight))
        scores = multiply(self.states[rows], self.weight.t(), self.memory[:size])
        if self.bias is not None:
            scores.addcmul_(self._of(self.before, scores, rows), self.bias)
        if self.fused.softcap is not None:
            scores.tanh_().mul_(self._of(self.ceiling, scores, rows))
        return scores

    def slope(self, scores: Tensor, rows: slice) -> Tensor | None:
        """The derivative of the cap at the scores, [R, V]; None without a cap."""
        if self.fused.softcap is None:
            return None
        return (scores / self._of(self.ceiling, scores, rows)).square_().neg_().add_(1.0)

    @staticmethod
    def _of(factor: float | Tensor, scores: Tensor, rows: slice) -> Tensor:
        return factor[rows] if isinstance(factor, Tensor) else scores.new_full((), factor)


def rescale(tensor: Tensor, factor: float | Tensor) -> Tensor:
    """The product; the tensor itself where the factor is 1."""
    return tensor if isinstance(factor, float) and factor == 1.0 else tensor * factor


class Gradients:
    """Sums up the gradients of hidden states, weight and bias over chunks of tokens.

    Args:
        projection: computed the scores.
        weight: float [N, 1], the factor of each token's gradient; None for 1.
        wanted: which of hidden states, weight and bias get a gradient.
    """

    def __init__(self, projection: Projection, weight: Tensor | None, wanted: tuple[bool, ...]) -> None:
        hidden, self.full = projection.hidden, projection.fused.full
        self.projection, self.wanted = projection, wanted
        self.pull = projection.growth if weight is None else projection.growth * weight
        self.states = rescale(hidden.to(self.full), self.pull).to(projection.fused.operand)
        self.hidden = hidden.new_empty(hidden.shape, dtype=self.full) if wanted[0] else None
        self.weight: Tensor | None = None
        self.bias = hidden.new_zeros(len(projection.weight), dtype=self.full) if wanted[2] else None

    def add(self, rows: slice, gradient: Tensor, slope: Tensor | None) -> None:
        """Add the gradients of a chunk, from that with respect to its scores [R, V], which is overwritten."""
        if slope is not None:
            gradient.mul_(slope)
        if self.bias is not None:
            pull = (
                self.pull[rows, 0]
                if isinstance(self.pull, Tensor)
                else gradient.new_full(gradient.shape[:1], self.pull)
            )
            self.bias.addmv_(gradient.t(), pull)
        short = gradient.to(self.projection.fused.operand)
        if self.hidden is not None:
            multiply(short, self.projection.weight, self.hidden[rows])
        if self.wanted[1]:
            self.weight = add_product(self.weight, short.t(), self.states[rows], self.full)

    def result(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of hidden states [N, D], weight [V, D] and bias [V]; None where not wanted."""
        if self.wanted[1] and self.weight is None:
            self.weight = torch.zeros_like(self.projection.weight, dtype=self.full)
        return None if self.hidden is None else rescale(self.hidden, self.pull), self.weight, self.bias


def multiply(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """A matrix product, accumulated and stored in the dtype of `out`."""
    if left.dtype == out.dtype:
        return torch.mm(left, right, out=out)
    return torch.mm(left, right, out_dtype=out.dtype, out=out)


def add_product(total: Tensor | None, left: Tensor, right: Tensor, kind: torch.dtype) -> Tensor:
    """Add a matrix product of this dtype to `total`, if there is one yet."""
    if left.dtype == kind:
        return torch.mm(left, right) if total is None else total.addmm_(left, right)
    product = torch.mm(left, right, out_dtype=kind)
    return product if total is None else total.add_(product)


class _Summed(torch.autograd.Function):
    """The weighted sum of a loss, and the loss of each token; gradients are computed with it, and only scaled later."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        token_weight: Tensor | None,
        fused: ScoreScaling,
        objective: Objective,
    ) -> tuple[Tensor, Tensor]:
        """Go through the chunks once."""
        wanted = ctx.needs_input_grad[:3]
        with full_precision(hidden):
            projection = Projection(hidden, weight, bias, fused)
            pull = None if token_weight is None else token_weight.unsqueeze(1)
            gradients = Gradients(projection, pull, wanted) if any(wanted) else None
            each = hidden.new_empty(len(hidden), dtype=fused.full)
            for rows in projection.chunks():
                scores = projection.scores(rows)
                slope = projection.slope(scores, rows) if gradients else None
                each[rows] = objective(scores, rows)
                if gradients:
                    gradients.add(rows, scores, slope)
        ctx.mark_non_differentiable(each)
        if gradients:
            ctx.save_for_backward(*gradients.result())
            ctx.types = tuple(None if t is None else t.dtype for t in (hidden, weight, bias))
        return each.sum() if token_weight is None else torch.dot(each, token_weight), each

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Scale the gradients."""
        found = (
            None if g is None else g.mul(grads[0]).to(t) for g, t in zip(ctx.saved_tensors, ctx.types, strict=True)
        )
        return *found, None, None, None


class _LogProbs(torch.autograd.Function):
    """Log-probabilities of targets, and entropies; the backward pass recomputes the probabilities."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        fused: ScoreScaling,
        entropy: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Go through the chunks once, and keep two numbers per token."""
        ctx.set_materialize_grads(False)
        ctx.fused = fused
        chosen = hidden.new_empty(len(hidden), dtype=fused.full)
        entropies = torch.empty_like(chosen) if entropy else None
        with full_precision(hidden):
            projection = Projection(hidden, weight, bias, fused)
            for rows in projection.chunks():
                scores = projection.scores(rows)
                at_target = scores.gather(1, targets[rows].unsqueeze(1)).squeeze(1)
                log_mass, found = to_probs(scores, entropy=entropy)
                torch.sub(at_target, log_mass, out=chosen[rows])
                if entropies is not None and found is not None:
                    entropies[rows] = found
        ctx.save_for_backward(hidden, weight, bias, targets, entropies)
        return chosen, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Go through the chunks again."""
        hidden, weight, bias, targets, entropies = ctx.saved_tensors
        chosen, entropy = grads
        chosen = hidden.new_zeros(len(hidden), dtype=ctx.fused.full) if chosen is None else chosen
        with full_precision(hidden):
            projection = Projection(hidden, weight, bias, ctx.fused)
            # Without entropies, all of a token's gradient is proportional to the incoming one.
            pull = -chosen.unsqueeze(1) if entropy is None else None
            gradients = Gradients(projection, pull, ctx.needs_input_grad[:3])
            for rows in projection.chunks():
                scores = projection.scores(rows)
                slope = projection.slope(scores, rows)
                to_probs(scores)
                if entropy is None:
                    at_target = -torch.ones_like(chosen[rows])
                else:
                    at_target = chosen[rows]
                    _mix(scores, at_target, entropy[rows], entropies[rows])
                scores.scatter_add_(1, targets[rows].unsqueeze(1), at_target.unsqueeze(1))
                gradients.add(rows, scores, slope)
        found = zip(gradients.result(), (hidden, weight, bias), strict=True)
        return *(None if g is None else g.to(t.dtype) for g, t in found), None, None, None


def to_probs(scores: Tensor, *, entropy: bool = False) -> tuple[Tensor, Tensor | None]:
    """Turn scores [R, V] into probabilities, in place.

    Returns:
        log sum exp of the scores [R], and the entropies [R] if they are wanted.
    """
    masses, entropies = [], []
    for (block,) in cache_blocks(scores):
        probs = torch.softmax(block, -1)
        # The largest probability is exp(largest score - log mass), which has all its digits.
        masses.append(block.amax(1) - probs.amax(1).log_())
        if entropy:
            # A probability of 0 contributes nothing, where 0 times minus infinity would be NaN.
            shifted = (block - masses[-1].unsqueeze(1)).clamp_min_(LOG_FLOOR)
            entropies.append(-torch.linalg.vecdot(probs, shifted))
        block.copy_(probs)
    return torch.cat(masses), torch.cat(entropies) if entropy else None


def _mix(probs: Tensor, chosen: Tensor, entropy: Tensor, entropies: Tensor) -> None:
    """Turn probabilities [R, V] into the gradient with respect to scores, except for the entries of targets.

    Per unit of incoming gradient, log-probabilities of targets give -q_v, and entropies H give -q_v (log q_v + H).
    """
    tiny = torch.finfo(probs.dtype).tiny
    base = torch.addcmul(chosen, entropy, entropies).neg_()
    for block, start, slope in cache_blocks(probs, base.unsqueeze(1), entropy.unsqueeze(1)):
        block.mul_(torch.addcmul(start, block.clamp_min(tiny).log_(), slope, value=-1.0))
