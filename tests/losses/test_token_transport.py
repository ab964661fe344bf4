"""Transport between token distributions, against slow transcriptions in NumPy."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.pairs.transport import sinkhorn_distance
from didact.losses.tokens.transport import token_sinkhorn
from didact.types import Head, States, TopK


def sides(count=7, vocabulary=11, other=11, *, dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)

    def normal(*shape):
        return 1.5 * torch.randn(*shape, generator=draw, dtype=dtype)

    hidden, states = normal(count, 3), normal(count, 4)
    return hidden, Head(normal(vocabulary, 3), normal(vocabulary)), states, Head(normal(other, 4))


def told(both):
    hidden, head, states, teacher_head = both
    return hidden, head, States(hidden=states, head=teacher_head)


def softmax(scores):
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def cost_of(plan_of, mass, iterations, regularisation):
    kernel = np.exp(-plan_of / regularisation)
    right = np.ones(len(mass))
    for _ in range(iterations):
        left = mass / (kernel @ right)
        right = mass / (kernel.T @ left)
    return (left[:, None] * kernel * right * plan_of).sum()


def transcribed(hidden, head, states, teacher_head, *, top_k, group, temperature=1.0, weight=None, shared=11):
    q = softmax(head(hidden).double().detach().numpy()[:, :shared] / temperature)
    p = softmax(teacher_head(states).double().numpy()[:, :shared] / temperature)
    total = 0.0
    for start in range(0, len(q), group):
        mine, theirs = q[start : start + group], p[start : start + group]
        cost = np.zeros((len(mine), len(mine)))
        for i, one in enumerate(mine):
            for j, other in enumerate(theirs):
                seen = np.argsort(-other)[:top_k]
                rest = [k for k in range(shared) if k not in seen]
                cost[i, j] = np.abs(one[seen] - other[seen]).sum() + abs(one[rest].sum() - other[rest].sum())
        mass = np.ones(len(mine)) if weight is None else weight[start : start + group].double().numpy()
        total += cost_of(cost, mass, 12, 0.2)
    return total


@pytest.mark.parametrize(("top_k", "group"), [(1, 7), (3, 3), (11, 4), (50, 7)])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_distribution_is_seen_by_what_the_teacher_finds_probable(top_k, group, weighted):
    both = sides()
    weight = torch.tensor([1.0, 0.5, 0.2, 1.0, 0.7, 0.9, 0.3]) if weighted else None
    options = {"top_k": top_k, "group": group, "temperature": 1.3}
    found = token_sinkhorn(*told(both), **options, regularisation=0.2, iterations=12, weight=weight)
    assert found.sum.item() == pytest.approx(transcribed(*both, **options, weight=weight), rel=1e-4)
    assert float(found.count) == pytest.approx(7.0 if weight is None else weight.sum().item())


def test_with_all_ids_it_is_the_distance_of_whole_distributions():
    hidden, head, states, teacher_head = sides()
    found = token_sinkhorn(hidden, head, States(hidden=states, head=teacher_head), top_k=11, group=7)
    whole = sinkhorn_distance(head(hidden), teacher_head(states).softmax(-1))
    assert found.mean().item() == pytest.approx(whole.mean().item(), rel=1e-5)


def test_a_teacher_of_likeliest_tokens_is_enough():
    hidden, head, states, teacher_head = both = sides()
    options = {"top_k": 3, "group": 4, "regularisation": 0.2, "iterations": 12}
    found = teacher_head(states).log_softmax(-1).topk(3)
    # One more id, which the student has not, takes none of the mass that is compared.
    ids, log_probs = (torch.cat([t, torch.full((7, 1), v)], 1) for t, v in ((found.indices, 99), (found.values, -9.0)))
    signal = TopK(ids=ids, log_probs=log_probs, tail=torch.zeros(7))
    whole = token_sinkhorn(*told(both), **options).sum.item()
    assert token_sinkhorn(hidden, head, signal, **options).sum.item() == pytest.approx(whole, rel=1e-5)
    with pytest.raises(ConfigError, match="tail can't be softened"):
        token_sinkhorn(hidden, head, signal, temperature=2.0)


def test_larger_vocabularies_are_cut():
    both = sides(other=14)
    found = token_sinkhorn(*told(both), top_k=3, group=4, regularisation=0.2, iterations=12)
    assert found.sum.item() == pytest.approx(transcribed(*both, top_k=3, group=4), rel=1e-4)


def test_its_gradient_is_that_of_finite_differences():
    hidden, head, states, teacher_head = sides(4, 6, 6, dtype=torch.float64)
    hidden.requires_grad_(True)
    options = {"top_k": 2, "group": 4, "regularisation": 0.5, "iterations": 3}
    token_sinkhorn(hidden, head, States(hidden=states, head=teacher_head), **options).sum.backward()
    for row, column in ((0, 0), (1, 2), (3, 1)):
        ends = []
        for step in (1e-2, -1e-2):
            moved = hidden.detach().clone()
            moved[row, column] += step
            ends.append(token_sinkhorn(moved, head, States(hidden=states, head=teacher_head), **options).sum.item())
        assert hidden.grad[row, column].item() == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=2e-2, abs=2e-4)


@pytest.mark.parametrize("option", [{"top_k": 0}, {"group": 0}, {"temperature": 0.0}, {"regularisation": 0.01}])
def test_what_cannot_be_is_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        token_sinkhorn(*told(sides()), **option)
