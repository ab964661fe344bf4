"""The error over what was hidden, against a slow transcription."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.features.distances import masked_mse


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def slow(predicted, target, hidden):
    found = []
    for mine, theirs, away in zip(predicted, target, hidden, strict=True):
        errors = [(p - t) ** 2 for p, t, h in zip(mine.ravel(), theirs.ravel(), away.ravel(), strict=True) if h]
        found.append(sum(errors) / len(errors) if errors else 0.0)
    return found


def test_only_what_was_hidden_counts():
    predicted, target, hidden = draw(0, 4, 2, 3, 3), draw(1, 4, 2, 3, 3), draw(2, 4, 2, 3, 3) > 0.3
    hidden[1] = False
    term = masked_mse(*map(torch.tensor, (predicted, target, hidden)))
    assert term.count == 4
    assert term.sum.item() == pytest.approx(sum(slow(predicted, target, hidden)), rel=1e-5)


def test_trust_weighs_examples():
    predicted, target, hidden, trust = draw(3, 3, 5), draw(4, 3, 5), draw(5, 3, 5) > 0, [1.0, 0.0, 0.5]
    term = masked_mse(*map(torch.tensor, (predicted, target, hidden)), trust=torch.tensor(trust))
    assert float(term.count) == 1.5
    assert term.sum.item() == pytest.approx(np.dot(trust, slow(predicted, target, hidden)), rel=1e-5)


def test_the_gradient_pulls_hidden_elements_alone_to_the_target():
    predicted, target, hidden = draw(6, 2, 6), draw(7, 2, 6), draw(12, 2, 6) > 0
    x, y = torch.tensor(predicted, requires_grad=True), torch.tensor(target, requires_grad=True)
    masked_mse(x, y, torch.tensor(hidden)).sum.backward()
    assert x.grad is not None
    expected = 2 * (predicted - target) * hidden / hidden.sum(1, keepdims=True)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-5)
    assert y.grad is None


def test_half_precision_is_computed_in_full():
    predicted, target = (torch.tensor(draw(s, 2, 8)).bfloat16() for s in (9, 10))
    hidden = torch.tensor(draw(11, 2, 8) > 0)
    full = masked_mse(predicted.float(), target.float(), hidden).sum
    torch.testing.assert_close(masked_mse(predicted, target, hidden).sum, full)


def test_other_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"\[2, 3\].*\[2, 4\].*same shape"):
        masked_mse(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.bool))
