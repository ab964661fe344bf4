"""Relational distillation against a slow transcription, and its gradient against finite differences."""

import numpy as np
import pytest
import torch

from didact.errors import DataError
from didact.losses.pairs import relational


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def huber(difference):
    return np.where(abs(difference) < 1, difference**2 / 2, abs(difference) - 0.5)


def distances(x, weight):
    found = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in x] for a in x])
    pairs = np.outer(weight, weight)
    return found / ((found * pairs).sum() / pairs[found > 0].sum())


def cosines(x):
    n = len(x)
    found = np.zeros((n, n, n))
    for i in range(n):
        for j in range(n):
            for k in range(n):
                a, b = x[i] - x[j], x[k] - x[j]
                length = np.sqrt((a**2).sum() * (b**2).sum())
                found[i, j, k] = (a * b).sum() / length if length else 0.0
    return found


def slow(kind, student, teacher, trust=None):
    w = np.ones(len(student)) if trust is None else np.array(trust)
    if kind == "rkd_distance":
        return (huber(distances(student, w) - distances(teacher, w)) * np.outer(w, w)).sum()
    return (huber(cosines(student) - cosines(teacher)) * np.einsum("i,j,k->ijk", w, w, w)).sum()


KINDS = ("rkd_distance", "rkd_angle")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("examples", "mine", "theirs"), [(2, 3, 3), (5, 4, 9), (9, 2, 1)])
def test_relations_match_a_slow_transcription(kind, examples, mine, theirs):
    # The mean is far from 0, where inner products would lose digits if it were not taken away.
    student, teacher = draw(0, examples, mine) + 50.0, draw(1, examples, theirs)
    term = getattr(relational, kind)(torch.tensor(student), torch.tensor(teacher))
    assert term.count == examples ** (2 if kind == "rkd_distance" else 3)
    assert term.sum.item() == pytest.approx(slow(kind, student, teacher), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_trust_weighs_pairs_and_triplets(kind):
    student, teacher, trust = draw(2, 5, 3), draw(3, 5, 4), [1.0, 0.5, 0.0, 1.0, 0.25]
    term = getattr(relational, kind)(torch.tensor(student), torch.tensor(teacher), trust=torch.tensor(trust))
    assert float(term.count) == pytest.approx(sum(trust) ** (2 if kind == "rkd_distance" else 3))
    assert term.sum.item() == pytest.approx(slow(kind, student, teacher, trust), rel=1e-4)
    # Without the example that is not trusted, it is the same.
    kept = [0, 1, 3, 4]
    rest = getattr(relational, kind)(
        torch.tensor(student[kept]), torch.tensor(teacher[kept]), trust=torch.tensor(trust)[kept]
    )
    assert term.sum.item() == pytest.approx(rest.sum.item(), rel=1e-4)


@pytest.mark.parametrize("trust", [None, [1.0, 0.5, 0.0, 1.0, 0.25]])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_finite_differences(kind, trust, monkeypatch):
    monkeypatch.setattr(relational, "TILE", 60)  # several tiles, the last one shorter
    student, teacher = draw(4, 5, 3) * 3.0, draw(5, 5, 2)
    x = torch.tensor(student).float().requires_grad_()
    options = {} if trust is None else {"trust": torch.tensor(trust)}
    (2.0 * getattr(relational, kind)(x, torch.tensor(teacher), **options).sum).backward()
    for at in np.ndindex(student.shape):
        step = np.zeros_like(student)
        step[at] = 1e-5
        difference = slow(kind, student + step, teacher, trust) - slow(kind, student - step, teacher, trust)
        assert x.grad[at].item() == pytest.approx(difference / 1e-5, abs=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_turning_shifting_and_scaling_change_nothing(kind):
    teacher = draw(6, 6, 3)
    turn, _ = np.linalg.qr(draw(7, 3, 3))
    moved = 5.0 * teacher @ turn + 2.0
    assert getattr(relational, kind)(torch.tensor(moved), torch.tensor(teacher)).sum.item() == pytest.approx(
        0.0, abs=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_examples_that_coincide_have_finite_gradients(kind):
    student = draw(8, 5, 3)
    student[3] = student[1]
    teacher = draw(9, 5, 3)
    x = torch.tensor(student).float().requires_grad_()
    term = getattr(relational, kind)(x, torch.tensor(teacher))
    assert term.sum.item() == pytest.approx(slow(kind, student, teacher), rel=1e-4)
    term.sum.backward()
    assert torch.isfinite(x.grad).all()
    collapsed = torch.ones(4, 3, requires_grad=True)
    getattr(relational, kind)(collapsed, torch.tensor(teacher[:4])).sum.backward()
    assert torch.isfinite(collapsed.grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_leaves_them_alone(kind):
    student, teacher = torch.tensor(draw(10, 6, 4)).float() + 10.0, torch.tensor(draw(11, 6, 4)).float()
    full = getattr(relational, kind)(student, teacher).sum
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(getattr(relational, kind)(student, teacher).sum, full)


@pytest.mark.parametrize("kind", KINDS)
def test_one_example_has_no_relations(kind):
    with pytest.raises(DataError, match=r"The batch has 1 example, but relations .* at least 2"):
        getattr(relational, kind)(torch.zeros(1, 3), torch.zeros(1, 3))
