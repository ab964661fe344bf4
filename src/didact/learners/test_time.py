"""Learning at test time: a net that tunes a copy of its head to the neighbours of an input before it answers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.learners.module import ModuleLearner
from didact.types import Batch


def margin(logits: Tensor) -> Tensor:
    """The probability of the likeliest class minus that of the next: float [B] in [0, 1], of logits [B, C]."""
    first, second = logits.float().softmax(-1).topk(2, dim=-1).values.unbind(-1)
    return first - second


def tuned_logits(head: nn.Linear, hidden: Tensor, near: Tensor, labels: Tensor, *, rate: float, steps: int) -> Tensor:
    """What copies of a linear head answer, each tuned to some labelled neighbours of one input.

    Each step is gradient descent on the mean cross-entropy over the neighbours. The head itself stays as it is.

    Args:
        head: from D features to C classes.
        hidden: float [B, D], the features of the inputs.
        near: float [B, K, D], those of the neighbours of each.
        labels: int64 [B, K], theirs.
        rate: the step size.
        steps: how many.

    Returns:
        float [B, C], without a gradient.
    """
    with torch.no_grad():
        # The bias is the weight of a feature that is always 1.
        bias = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
        weight = torch.cat([head.weight, bias[:, None]], 1).expand(len(hidden), -1, -1)
        near, hidden = F.pad(near, (0, 1), value=1.0), F.pad(hidden, (0, 1), value=1.0)
        truth = F.one_hot(labels, len(bias)).to(near.dtype)
        for _ in range(steps):
            slope = (near @ weight.mT).softmax(-1) - truth
            weight = weight - rate / near.shape[1] * slope.mT @ near
        return (weight @ hidden[..., None])[..., 0]


class NeighbourTuned(nn.Module):
    """A classifier that, where it is unsure, first learns its own answers to neighbours of the input.

    Args:
        learner: with a linear head; it stays as it is.
        threshold: the `margin` of its probabilities below which it is unsure.
        spread: float, of one input's shape; the standard deviation of the noise that makes neighbours.
        neighbours: how many there are of an input; all inputs get the same noise, so that answers do not depend on
            what else is asked.
        rate: the step size of the head.
        steps: how many steps it takes.
        seed: of the noise.
    """

    spread: Tensor

    def __init__(
        self,
        learner: ModuleLearner,
        *,
        threshold: float,
        spread: Tensor,
        neighbours: int,
        rate: float,
        steps: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.learner = learner
        self.threshold, self.neighbours, self.rate, self.steps, self.seed = threshold, neighbours, rate, steps, seed
        self.register_buffer("spread", spread)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [B, ...] to logits [B, C]."""
        output, head = self.learner(_batch(x)), self.learner.head
        unsure = margin(output.logits) < self.threshold
        if not unsure.any():
            return output.logits
        assert head is not None and output.hidden is not None
        noise = torch.randn(self.neighbours, *x.shape[1:], generator=torch.Generator().manual_seed(self.seed))
        near = (x[unsure, None] + noise.to(x) * self.spread.to(x)).flatten(0, 1)
        around = self.learner(_batch(near))
        assert around.hidden is not None
        shape = (-1, self.neighbours)
        tuned = tuned_logits(
            head,
            output.hidden[unsure],
            around.hidden.unflatten(0, shape),
            around.logits.argmax(-1).view(shape),
            rate=self.rate,
            steps=self.steps,
        )
        return output.logits.index_put((unsure,), tuned.to(output.logits.dtype))


def _batch(x: Tensor) -> Batch:
    return Batch({"x": x, "id": torch.zeros(len(x), dtype=torch.int64, device=x.device)})
