"""Examples whose gradients are large and differ (BADGE), with the gradients as factors."""

import torch
from torch import Tensor

from didact.curricula.acquisition.covering import ROUNDING, Chosen, check_count, draw


def badge(logits: Tensor, hidden: Tensor, known: Tensor, count: int, generator: torch.Generator) -> Chosen:
    """Rows by k-means++ over the gradients of the last layer, at the likeliest label (BADGE; Ash et al. 2020).

    The gradient of row i is the outer product of a_i = p_i - onehot(argmax p_i) [C] and its state h_i [D]. So
    |g_i - g_j|^2 = |a_i|^2 |h_i|^2 + |a_j|^2 |h_j|^2 - 2 (a_i a_j) (h_i h_j), and no tensor [N, C * D] is made. The row
    of the largest gradient comes first.

    Compared with query_strategies/badge_sampling.py of JordanAsh/badge, given the same draws: the same rows.

    Args:
        logits: float [N, C].
        hidden: float [N, D], what the last layer is given.
        known: bool [N], the rows that have a label; they are no centres, as in the authors' code.
        count: how many rows, K; at most as many as are not known.
        generator: draws the rows.

    Returns:
        The rows; their scores are the distances to the nearest gradient that was chosen before, for the first its
        length.

    Raises:
        ConfigError: more rows than there are.
    """
    check_count(known, count)
    probs = logits.float().softmax(1)
    errors = probs.scatter_add(1, probs.argmax(1, keepdim=True), torch.full((len(probs), 1), -1.0))
    hidden = hidden.float()
    lengths = errors.square().sum(1) * hidden.square().sum(1)
    distance = lengths.double().masked_fill(known, 0.0)
    rows, scores = list[int](), list[float]()
    taken = known.clone()
    for number in range(count):
        # Where nothing is to be learned, all that are left are equal.
        weight = distance if bool((distance > 0).any()) else (~taken).double()
        row = draw(weight, generator) if number else int(weight.argmax())
        rows.append(row)
        scores.append(float(distance[row].sqrt()))
        taken[row] = True
        both = lengths + lengths[row]
        found = both - 2.0 * (errors @ errors[row]) * (hidden @ hidden[row])
        found = torch.where(found > ROUNDING * both, found, 0.0).double()
        distance = (torch.minimum(distance, found) if number else found).masked_fill(taken, 0.0)
    return Chosen(torch.tensor(rows, dtype=torch.int64), torch.tensor(scores))
