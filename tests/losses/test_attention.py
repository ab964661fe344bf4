"""Attention transfer against a slow transcription, and its gradient against finite differences."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.features.attention import attention_map, attention_transfer


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def slow_map(features):
    """One example's maps [C, H, W]."""
    energy = np.zeros(features.shape[1:])
    for channel in features:
        energy = energy + channel * channel
    return energy.ravel() / np.sqrt((energy**2).sum())


def slow(student, teacher):
    return [np.sum((slow_map(s) - slow_map(t)) ** 2) for s, t in zip(student, teacher, strict=True)]


def test_maps_match_a_slow_transcription():
    student, teacher = draw(0, 5, 3, 4, 2), draw(1, 5, 7, 4, 2)
    term = attention_transfer(torch.tensor(student), torch.tensor(teacher))
    assert term.count == 5
    assert term.sum.item() == pytest.approx(sum(slow(student, teacher)), rel=1e-5)


def test_tokens_are_positions():
    student, teacher = draw(2, 4, 6, 3), draw(3, 4, 6, 5)
    expected = slow(student.transpose(0, 2, 1)[..., None], teacher.transpose(0, 2, 1)[..., None])
    term = attention_transfer(torch.tensor(student), torch.tensor(teacher))
    assert term.sum.item() == pytest.approx(sum(expected), rel=1e-5)


def test_trust_weighs_examples():
    student, teacher, trust = draw(4, 3, 2, 3, 3), draw(5, 3, 2, 3, 3), [1.0, 0.0, 0.5]
    term = attention_transfer(torch.tensor(student), torch.tensor(teacher), trust=torch.tensor(trust))
    assert float(term.count) == 1.5
    assert term.sum.item() == pytest.approx(np.dot(trust, slow(student, teacher)), rel=1e-5)


def test_the_gradient_matches_finite_differences():
    student, teacher = draw(6, 2, 3, 2, 3), draw(7, 2, 4, 2, 3)
    x = torch.tensor(student).float().requires_grad_()
    attention_transfer(x, torch.tensor(teacher)).sum.backward()
    for at in [(0, 0, 0, 0), (0, 2, 1, 1), (1, 1, 0, 2)]:
        step = np.zeros_like(student)
        step[at] = 1e-5
        difference = sum(slow(student + step, teacher)) - sum(slow(student - step, teacher))
        assert x.grad[at].item() == pytest.approx(difference / 2e-5, abs=1e-6)


def test_the_gradient_of_the_map_can_be_differentiated_again():
    x = torch.tensor(draw(8, 2, 3, 2, 2)).float().requires_grad_()
    (first,) = torch.autograd.grad(
        attention_map(x).square().mul(x.detach()[:, 0].flatten(1)).sum(), x, create_graph=True
    )
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.abs().sum() > 0


def test_the_teacher_gets_no_gradient_and_scale_does_not_matter():
    student, teacher = torch.tensor(draw(9, 2, 3, 2, 2)), torch.tensor(draw(10, 2, 3, 2, 2)).requires_grad_()
    assert not attention_transfer(student, teacher).sum.requires_grad
    assert attention_transfer(student, -7.0 * student).sum.item() == pytest.approx(0.0, abs=1e-10)


def test_half_precision_is_computed_in_full():
    student, teacher = (torch.tensor(draw(s, 2, 8, 3, 3)).bfloat16() for s in (11, 12))
    full = attention_transfer(student.float(), teacher.float()).sum
    torch.testing.assert_close(attention_transfer(student, teacher).sum, full)


def test_what_has_no_common_positions_is_refused():
    with pytest.raises(ConfigError, match=r"\[2, 3, 4, 4\].*\[2, 3, 2, 2\].*same height and width"):
        attention_transfer(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 2))
    with pytest.raises(ConfigError, match=r"\[2, 3\] have no positions"):
        attention_transfer(torch.zeros(2, 3), torch.zeros(2, 3))
