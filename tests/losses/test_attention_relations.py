"""Relations between tokens against a slow transcription, and their gradient against finite differences."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.features.attention_relations import relation_kl, token_relations


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def slow_relations(vectors, heads, present):
    """Probabilities of one example, [R, T, T]."""
    tokens, width = vectors.shape
    each = width // heads
    found = np.zeros((heads, tokens, tokens))
    for r in range(heads):
        part = vectors[:, r * each : (r + 1) * each]
        for i in range(tokens):
            scores = [np.exp(part[i] @ part[j] / np.sqrt(each)) if present[j] else 0.0 for j in range(tokens)]
            found[r, i] = np.array(scores) / np.sum(scores)
    return found


def slow_kl(student, teacher, heads, present):
    mine, theirs = (slow_relations(v, heads, present) for v in (student, teacher))
    there = [t for t in range(len(present)) if present[t]]
    total = sum(
        theirs[r, i, j] * np.log(theirs[r, i, j] / mine[r, i, j]) for r in range(heads) for i in there for j in there
    )
    return total / len(there) / heads


def kl(student, teacher, heads, present=None, trust=None):
    relations = [token_relations(torch.as_tensor(v), heads, present) for v in (student, teacher)]
    return relation_kl(*relations, present, trust=trust)


def test_it_matches_a_slow_transcription_at_other_widths():
    student, teacher = draw(0, 3, 5, 4), draw(1, 3, 5, 12)
    term = kl(student, teacher, 2)
    assert term.count == 3
    expected = sum(slow_kl(s, t, 2, np.ones(5)) for s, t in zip(student, teacher, strict=True))
    assert term.sum.item() == pytest.approx(expected, rel=1e-5)


def test_padding_counts_on_neither_side():
    student, teacher = draw(2, 2, 5, 4), draw(3, 2, 5, 8)
    present = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected = sum(slow_kl(s, t, 4, p) for s, t, p in zip(student, teacher, present.numpy(), strict=True))
    assert kl(student, teacher, 4, present).sum.item() == pytest.approx(expected, rel=1e-5)
    student[0, 3:] += 7.0
    assert kl(student, teacher, 4, present).sum.item() == pytest.approx(expected, rel=1e-5)


def test_trust_weighs_examples():
    student, teacher, trust = draw(4, 3, 4, 6), draw(5, 3, 4, 6), [1.0, 0.0, 0.5]
    term = kl(student, teacher, 3, trust=torch.tensor(trust))
    each = [slow_kl(s, t, 3, np.ones(4)) for s, t in zip(student, teacher, strict=True)]
    assert float(term.count) == 1.5
    assert term.sum.item() == pytest.approx(np.dot(trust, each), rel=1e-5)


def test_the_gradient_matches_finite_differences_and_spares_the_teacher():
    student, teacher = draw(6, 1, 4, 4), draw(7, 1, 4, 2)
    x, y = torch.tensor(student).float().requires_grad_(), torch.tensor(teacher).float().requires_grad_()
    kl(x, y, 2).sum.backward()
    assert y.grad is None
    assert x.grad is not None
    for at in [(0, 0, 0), (0, 2, 1), (0, 3, 3)]:
        step = np.zeros_like(student)
        step[at] = 1e-5
        ahead, behind = (slow_kl((student + sign * step)[0], teacher[0], 2, np.ones(4)) for sign in (1, -1))
        assert x.grad[at].item() == pytest.approx((ahead - behind) / 2e-5, abs=1e-5)


def test_equal_relations_are_at_no_distance():
    vectors = torch.tensor(draw(8, 2, 6, 8))
    assert kl(vectors, -vectors, 4).sum.item() == pytest.approx(0.0, abs=1e-6)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="relation_heads is 3, which does not divide a width of 8"):
        token_relations(torch.zeros(1, 2, 8), 3)
    with pytest.raises(ConfigError, match=r"\[1, 2, 3, 3\].*\[1, 2, 4, 4\].*same tokens"):
        relation_kl(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 4, 4))
