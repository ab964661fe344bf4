"""The two parts of the divergence against a slow transcription, and their gradients against finite differences."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.classes.decoupled import decoupled_kd
from didact.losses.classes.divergence import forward_kl
from didact.losses.labels.targets import target_log_probs
from didact.types import IGNORE, Logits


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape) * 3.0


def softmax(row):
    exponentials = np.exp(row - row.max())
    return exponentials / exponentials.sum()


def slow(student, teacher, target, temperature):
    """(TCKD, NCKD) of each example: 0 where it has no target."""
    found = []
    for s, t, c in zip(student, teacher, target, strict=True):
        if c < 0:
            found.append((0.0, 0.0))
            continue
        p, q = softmax(t / temperature), softmax(s / temperature)
        binary = p[c] * np.log(p[c] / q[c]) + (1 - p[c]) * np.log((1 - p[c]) / (1 - q[c]))
        rest, others = np.delete(p, c) / (1 - p[c]), np.delete(q, c) / (1 - q[c])
        found.append((temperature**2 * binary, temperature**2 * (rest * np.log(rest / others)).sum()))
    return np.array(found)


def parts(student, teacher, target, temperature, **options):
    theirs = target_log_probs(Logits(logits=torch.as_tensor(teacher)), temperature, classes=student.shape[1])
    return decoupled_kd(student, theirs, torch.as_tensor(target), temperature=temperature, **options)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_both_parts_match_a_slow_transcription(classes, temperature):
    student, teacher = draw(0, 6, classes), draw(1, 6, classes)
    target = [0, 1, IGNORE, classes - 1, 0, IGNORE]
    terms = parts(torch.tensor(student), teacher, target, temperature)
    expected = slow(student, teacher, target, temperature).sum(0)
    for term, value in zip(terms, expected, strict=True):
        assert float(term.count) == 4
        assert term.sum.item() == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_together_they_are_the_divergence():
    """KL(P || Q) = TCKD + (1 - p_target) NCKD."""
    student, teacher, target = draw(2, 1, 7), draw(3, 1, 7), [4]
    of_target, of_others = parts(torch.tensor(student), teacher, target, 2.0)
    theirs = target_log_probs(Logits(logits=torch.tensor(teacher)), 2.0, classes=7)
    whole = forward_kl(torch.tensor(student), theirs, temperature=2.0).sum.item()
    share = 1 - softmax(teacher[0] / 2.0)[4]
    assert of_target.sum.item() + share * of_others.sum.item() == pytest.approx(whole, rel=1e-5)


def test_trust_weighs_examples():
    student, teacher, target, trust = draw(4, 4, 5), draw(5, 4, 5), [1, IGNORE, 3, 0], [1.0, 1.0, 0.5, 0.0]
    terms = parts(torch.tensor(student), teacher, target, 3.0, trust=torch.tensor(trust))
    expected = np.array(trust) @ slow(student, teacher, target, 3.0)
    for term, value in zip(terms, expected, strict=True):
        assert float(term.count) == 1.5
        assert term.sum.item() == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("part", [0, 1])
def test_gradients_match_finite_differences(part):
    student, teacher, target = draw(6, 4, 5), draw(7, 4, 5), [1, IGNORE, 3, 0]
    x = torch.tensor(student).float().requires_grad_()
    parts(x, teacher, target, 2.0)[part].sum.backward()
    for at in np.ndindex(student.shape):
        step = np.zeros_like(student)
        step[at] = 1e-5
        ends = [slow(student + sign * step, teacher, target, 2.0).sum(0)[part] for sign in (1, -1)]
        assert x.grad[at].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=2e-4)


def test_a_teacher_that_is_sure_leaves_both_finite():
    """The other classes of a teacher with p = 1 in float32 still have an order, which is what NCKD is for."""
    student, teacher = torch.zeros(1, 3, requires_grad=True), np.array([[60.0, 1.0, 0.0]])
    of_target, of_others = parts(student, teacher, [0], 1.0)
    assert of_target.sum.item() == pytest.approx(np.log(3), rel=1e-5)
    assert of_others.sum.item() == pytest.approx(
        slow(np.zeros((1, 3)), np.array([[0.0, 1.0, 0.0]]), [0], 1.0)[0, 1], rel=1e-4
    )
    (of_target.sum + of_others.sum).backward()
    assert torch.isfinite(student.grad).all()


def test_a_student_that_agrees_loses_nothing():
    logits = draw(8, 4, 6)
    for term in parts(torch.tensor(logits), logits, [0, 1, 2, 3], 4.0):
        assert term.sum.item() == pytest.approx(0.0, abs=1e-4)


def test_one_class_has_no_others():
    with pytest.raises(ConfigError, match=r"\[2, 1\].*two classes"):
        decoupled_kd(torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
