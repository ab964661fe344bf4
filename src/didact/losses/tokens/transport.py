"""Optimal transport between a student's and a teacher's distributions at neighbouring tokens.

Axis letters: N selected tokens, G tokens of a group, V vocabulary, K most probable tokens, D width.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from didact.errors import check_range
from didact.losses._precision import full_precision
from didact.losses.pairs.transport import LEAST_REGULARISATION, sinkhorn_plan
from didact.losses.tokens._teacher import apply_trust, check_same_tokens, shared_vocabulary, top_probs
from didact.types import Head, Signal, Term


def token_sinkhorn(
    hidden: Tensor,
    head: Head,
    signal: Signal,
    *,
    top_k: int = 32,
    group: int = 64,
    temperature: float = 1.0,
    regularisation: float = 0.1,
    iterations: int = 20,
    weight: Tensor | None = None,
) -> Term:
    """The optimal transport cost between a student's and a teacher's token distributions (Cui et al. 2024, SinKD).

    Moving the student's distribution at one token onto the teacher's at another costs the sum of the absolute
    differences of their probabilities, over the tokens that are most probable to the teacher there, and over all others
    together. The Sinkhorn plan determines how much is moved where, within the group. With top_k = V it is the distance
    between whole distributions. The backward pass recomputes scores, a group at a time.

    Args:
        hidden: float [N, D], the student's.
        head: the student's.
        signal: the teacher's, of the same tokens, [N]; no gradient flows into it. Its ids mean the same, and both are
            cut to those that both have. Its trust is multiplied into `weight`.
        top_k: K, 1 or more.
        group: the number of neighbouring tokens that are moved onto each other, G.
        temperature: above 0; divides the scores of both.
        regularisation: see `sinkhorn_plan`; `LEAST_REGULARISATION` or more.
        iterations: see `sinkhorn_plan`.
        weight: float [N], 0 or more: the mass of each token on both sides; None for 1 each.

    Returns:
        The cost of the plans whose rows and columns have a mass of 1, or of the weight; and the total mass.
        The mean is in [0, 2].

    Raises:
        ConfigError: an option out of range.
    """
    check_range("top_k", top_k, at_least=1)
    check_range("group", group, at_least=1)
    check_range("temperature", temperature, above=0.0)
    check_range("regularisation", regularisation, at_least=LEAST_REGULARISATION)
    check_same_tokens(hidden, signal)
    mine = head.slice(shared_vocabulary(head.vocabulary, signal))
    ids, known = top_probs(signal, mine.vocabulary, min(top_k, mine.vocabulary), temperature)
    weight = apply_trust(weight, signal)
    if weight is not None:
        # Tokens without weight, such as padding, come last, so that they change no group of the others.
        order = (weight == 0).int().argsort(stable=True)
        hidden, ids, known, weight = hidden[order], ids[order], known[order], weight[order]

    def cost_of(states: Tensor, ids: Tensor, known: Tensor, mass: Tensor | None) -> Tensor:
        with full_precision(states):
            cost = _coarse_distances(torch.softmax(mine(states).float() / temperature, -1), ids, known)
            plan = sinkhorn_plan(cost, regularisation=regularisation, iterations=iterations, mass=mass)
            return (plan * cost).sum()

    masses = [None] * len(hidden) if weight is None else weight.detach().float().split(group)
    parts = zip(hidden.split(group), ids.split(group), known.split(group), masses, strict=False)
    costs = [checkpoint(cost_of, *part, use_reentrant=False) for part in parts]
    return Term(torch.stack(costs).sum(), len(hidden) if weight is None else weight.sum())


def _coarse_distances(probs: Tensor, ids: Tensor, known: Tensor) -> Tensor:
    """Distances of G distributions from G others, over the latter's K most probable ids and the rest: [G, G].

    Args:
        probs: float [G, V].
        ids: int64 [G, K], of the others; those that are V or more are ignored.
        known: their probabilities, float [G, K].
    """
    there = ids < probs.shape[1]
    known = known * there
    # Not probs[:, ids], whose gradient accumulates in a nondeterministic order.
    seen = probs.gather(1, ids.where(there, 0).flatten().expand(len(probs), -1)).view(-1, *ids.shape) * there
    apart = (seen - known).abs().sum(-1)
    return apart + (seen.sum(-1) - known.sum(-1)).abs()
