"""Each loss against a slow transcription in NumPy, and its gradient against finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import ConfigError, DataError, TeacherError
from didact.losses.classes import divergence
from didact.losses.classes.divergence import forward_kl
from didact.losses.features.distances import feature_cosine, feature_mse, probability_mse
from didact.losses.labels.supervised import cross_entropy, label_loss, squared_error
from didact.losses.labels.targets import distillation_loss, group_distillation_loss, target_log_probs, target_probs
from didact.types import IGNORE, Features, Labels, Logits

sizes = st.integers(1, 6)
seeds = st.integers(0, 10_000)


def softmax(row):
    exponentials = [math.exp(v - max(row)) for v in row]
    return [e / sum(exponentials) for e in exponentials]


def rows(seed, examples, classes, scale=3.0):
    return np.random.default_rng(seed).normal(size=(examples, classes)) * scale


def kl(p, q):
    return sum(pi * math.log(pi / qi) for pi, qi in zip(p, q, strict=True) if pi > 0)


def slow_divergence(kind, student, teacher, temperature, beta=0.5, continuous=True):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        q, p = softmax(s / temperature), softmax(t / temperature)
        mixture = [beta * pi + (1 - beta) * qi for pi, qi in zip(p, q, strict=True)]
        value = {
            "forward_kl": lambda p=p, q=q: kl(p, q),
            "reverse_kl": lambda p=p, q=q: kl(q, p),
            "jensen_shannon": lambda p=p, q=q, m=mixture: (
                (beta * kl(p, m) + (1 - beta) * kl(q, m)) / (beta * (1 - beta) if continuous else 1.0)
            ),
        }[kind]()
        total += temperature**2 * value
    return total


def divergence_of(kind, student, teacher, temperature, **options):
    target = target_log_probs(Logits(logits=teacher), temperature, classes=teacher.shape[1])
    return getattr(divergence, kind)(student, target, temperature=temperature, **options)


@settings(max_examples=40, deadline=None)
@given(
    seeds, sizes, st.integers(2, 7), st.sampled_from(["forward_kl", "reverse_kl", "jensen_shannon"]), st.floats(0.5, 6)
)
def test_divergences_match_a_slow_transcription(seed, examples, classes, kind, temperature):
    student, teacher = rows(seed, examples, classes), rows(seed + 1, examples, classes)
    term = divergence_of(kind, torch.tensor(student), torch.tensor(teacher), temperature)
    assert term.count == examples
    assert term.sum.item() == pytest.approx(slow_divergence(kind, student, teacher, temperature), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.8])
def test_jensen_shannon_in_both_forms(beta, continuous):
    student, teacher = rows(1, 5, 4), rows(2, 5, 4)
    term = divergence_of(
        "jensen_shannon", torch.tensor(student), torch.tensor(teacher), 2.0, beta=beta, continuous=continuous
    )
    slow = slow_divergence("jensen_shannon", student, teacher, 2.0, beta, continuous)
    assert term.sum.item() == pytest.approx(slow, rel=1e-4)


def test_continuous_jensen_shannon_tends_to_the_two_kls():
    student, teacher = torch.tensor(rows(3, 6, 20, 1.0)), torch.tensor(rows(4, 6, 20, 1.0))
    for end, near, kind in ((0.0, 2e-3, "forward_kl"), (1.0, 1 - 2e-3, "reverse_kl")):
        expected = divergence_of(kind, student, teacher, 1.0).sum.item()
        assert divergence_of("jensen_shannon", student, teacher, 1.0, beta=end).sum.item() == expected
        assert divergence_of("jensen_shannon", student, teacher, 1.0, beta=near).sum.item() == pytest.approx(
            expected, rel=0.1
        )


def test_jensen_shannon_as_written_is_refused_where_it_is_zero():
    with pytest.raises(ConfigError, match="strictly between 0 and 1"):
        divergence_of("jensen_shannon", torch.ones(1, 2), torch.ones(1, 2), 1.0, beta=0.0, continuous=False)
    with pytest.raises(ConfigError, match=r"beta is 1.5.*at most 1"):
        divergence_of("jensen_shannon", torch.ones(1, 2), torch.ones(1, 2), 1.0, beta=1.5)


@settings(max_examples=30, deadline=None)
@given(seeds, sizes, st.integers(2, 6))
def test_cross_entropy_with_missing_labels(seed, examples, classes):
    logits = rows(seed, examples, classes)
    labels = np.random.default_rng(seed).integers(-1, classes, examples)
    term = cross_entropy(torch.tensor(logits), torch.tensor(np.where(labels < 0, IGNORE, labels)))
    slow = sum(-math.log(softmax(row)[label]) for row, label in zip(logits, labels, strict=True) if label >= 0)
    assert float(term.count) == (labels >= 0).sum()
    assert term.sum.item() == pytest.approx(slow, rel=1e-4, abs=1e-5)


def test_cross_entropy_with_soft_labels_trust_and_smoothing():
    logits, trust = rows(5, 4, 3), [1.0, 0.0, 0.5, 0.25]
    soft = np.array([softmax(row) for row in rows(6, 4, 3)])
    term = cross_entropy(torch.tensor(logits), torch.tensor(soft), trust=torch.tensor(trust))
    per = [-sum(p * math.log(q) for p, q in zip(t, softmax(s), strict=True)) for t, s in zip(soft, logits, strict=True)]
    assert term.sum.item() == pytest.approx(sum(w * v for w, v in zip(trust, per, strict=True)), rel=1e-5)
    assert float(term.count) == pytest.approx(1.75)

    labels = [0, 2, IGNORE, 1]
    smooth = cross_entropy(torch.tensor(logits), torch.tensor(labels), label_smoothing=0.3)
    slow = sum(
        0.7 * -math.log(softmax(row)[label]) + 0.3 * sum(-math.log(p) for p in softmax(row)) / 3
        for row, label in zip(logits, labels, strict=True)
        if label != IGNORE
    )
    assert smooth.sum.item() == pytest.approx(slow, rel=1e-5)
    assert float(smooth.count) == 3


def test_class_weights_are_those_of_torch_over_the_number_of_labels():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(20, 3, generator=generator), torch.arange(20) % 3
    labels[[2, 5]] = IGNORE
    by_class = torch.tensor([0.5, 1.0, 4.0])
    weight = by_class[labels.clamp(min=0)]
    functional = torch.nn.functional
    expected = functional.cross_entropy(logits, labels, weight=by_class, ignore_index=IGNORE, reduction="sum")
    for trust in (None, torch.ones(20)):
        term = label_loss(logits, labels, weight=weight, trust=trust)
        torch.testing.assert_close(term.sum, expected)
        assert float(term.count) == 18
    rows = term.rows
    assert rows[2].isnan()
    torch.testing.assert_close(rows.nansum(), expected)
    smooth = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none", label_smoothing=0.1)
    found = label_loss(logits, labels, weight=weight, label_smoothing=0.1)
    torch.testing.assert_close(found.sum, (smooth * weight).sum())


def test_squared_error_leaves_missing_targets_out():
    term = squared_error(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([3.0, float("nan"), 1.0]))
    assert term.sum.item() == pytest.approx(4.0 + 9.0)
    assert float(term.count) == 2


def test_gradients_do_not_flow_through_missing_targets():
    predictions = torch.zeros(2, 1, requires_grad=True)
    squared_error(predictions, torch.tensor([float("nan"), 2.0])).sum.backward()
    assert predictions.grad is not None
    assert predictions.grad.flatten().tolist() == [0.0, -4.0]


def test_label_loss_chooses_by_the_labels():
    logits = torch.tensor([[0.0, 1.0]])
    assert label_loss(logits, torch.tensor([1])).sum.item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert label_loss(torch.tensor([[2.0]]), torch.tensor([5.0])).sum.item() == pytest.approx(9.0)
    with pytest.raises(DataError, match="2 classes"):
        label_loss(logits, torch.tensor([1.0]))
    with pytest.raises(ConfigError, match="regression has no classes"):
        label_loss(torch.tensor([[2.0]]), torch.tensor([5.0]), label_smoothing=0.1)


@settings(max_examples=25, deadline=None)
@given(seeds, sizes, st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_feature_losses(seed, examples, shape):
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(2, examples, *shape))
    squared = sum(((s - t) ** 2).mean() for s, t in zip(student, teacher, strict=True))
    cosine = sum(
        1 - (s * t).sum() / math.sqrt((s * s).sum() * (t * t).sum()) for s, t in zip(student, teacher, strict=True)
    )
    assert feature_mse(torch.tensor(student), torch.tensor(teacher)).sum.item() == pytest.approx(squared, rel=1e-4)
    assert feature_cosine(torch.tensor(student), torch.tensor(teacher)).sum.item() == pytest.approx(
        cosine, rel=1e-4, abs=1e-5
    )


def test_feature_losses_name_both_shapes():
    with pytest.raises(ConfigError, match=r"\[2, 3\].*\[2, 4\]"):
        feature_mse(torch.zeros(2, 3), torch.zeros(2, 4))


def test_probability_mse():
    logits, target = rows(7, 3, 4), np.array([softmax(row) for row in rows(8, 3, 4)])
    slow = sum(((np.array(softmax(s)) - t) ** 2).mean() for s, t in zip(logits, target, strict=True))
    assert probability_mse(torch.tensor(logits), torch.tensor(target)).sum.item() == pytest.approx(slow, rel=1e-5)


LOSSES = {
    "cross_entropy": lambda s, t: cross_entropy(s, torch.tensor([0, 2, 1])),
    "soft_cross_entropy": lambda s, t: cross_entropy(s, t.softmax(-1)),
    "forward_kl": lambda s, t: divergence_of("forward_kl", s, t, 3.0),
    "reverse_kl": lambda s, t: divergence_of("reverse_kl", s, t, 3.0),
    "jensen_shannon": lambda s, t: divergence_of("jensen_shannon", s, t, 3.0, beta=0.3),
    "feature_mse": feature_mse,
    "feature_cosine": feature_cosine,
    "probability_mse": lambda s, t: probability_mse(s, t.softmax(-1)),
    "squared_error": lambda s, t: squared_error(s[:, :1], t[:, 0]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_match_finite_differences(name):
    student, teacher = torch.tensor(rows(9, 3, 4, 1.0)).float(), torch.tensor(rows(10, 3, 4, 1.0)).float()
    student.requires_grad_()
    LOSSES[name](student, teacher).sum.backward()
    assert student.grad is not None
    step = 1e-2
    for i, j in [(0, 0), (1, 2), (2, 3)]:
        moved = torch.zeros(3, 4)
        moved[i, j] = step
        up = LOSSES[name](student.detach() + moved, teacher).sum.double()
        down = LOSSES[name](student.detach() - moved, teacher).sum.double()
        assert student.grad[i, j].item() == pytest.approx(((up - down) / (2 * step)).item(), abs=3e-3)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jensen_shannon", "probability_mse", "feature_cosine"])
def test_a_student_that_agrees_loses_nothing(name):
    logits = torch.tensor(rows(11, 4, 5)).float()
    assert LOSSES[name](logits, logits.clone()).sum.item() == pytest.approx(0.0, abs=1e-4)


def test_softened_probabilities_equal_softened_logits():
    logits = torch.tensor(rows(12, 4, 5)).float()
    from_logits = target_log_probs(Logits(logits=logits), 2.5, classes=5)
    from_probs = target_log_probs(Labels(labels=logits.softmax(-1)), 2.5, classes=5)
    from_features = target_log_probs(Features(features={}, logits=logits), 2.5, classes=5)
    torch.testing.assert_close(from_logits, from_probs)
    torch.testing.assert_close(from_logits, from_features)
    assert target_probs(Logits(logits=logits), 2.5, classes=5).sum(-1).tolist() == pytest.approx([1.0] * 4)


def test_a_teacher_that_says_zero_gives_finite_targets():
    certain = Labels(labels=torch.tensor([[1.0, 0.0, 0.0]]))
    target = target_log_probs(certain, 4.0, classes=3)
    assert torch.isfinite(target).all()
    term = forward_kl(torch.zeros(1, 3), target)
    assert term.sum.item() == pytest.approx(math.log(3), rel=1e-5)


def test_imitate_hard_labels_counts_answers_only():
    term = distillation_loss(torch.zeros(3, 4), Labels(labels=torch.tensor([2, IGNORE, 0])))
    assert float(term.count) == 2
    assert term.sum.item() == pytest.approx(2 * math.log(4), rel=1e-5)


def test_imitate_numbers_is_squared_error():
    term = distillation_loss(torch.tensor([[1.0], [0.0]]), Labels(labels=torch.tensor([3.0, 1.0])))
    assert term.sum.item() == pytest.approx(5.0)


def test_within_a_group_both_are_normalised_among_its_classes():
    student, teacher, group = rows(1, 4, 5), rows(2, 4, 5), [3, 0, 4]
    signal, mask = Logits(logits=torch.tensor(teacher).float()), torch.tensor([True, False, True, True])
    term = group_distillation_loss(torch.tensor(student).float(), signal, group, mask, temperature=2.0)
    slow = 0.0
    for z, t, counts in zip(student[:, group], teacher[:, group], mask, strict=True):
        p, q = (np.exp(v / 2.0) / np.exp(v / 2.0).sum() for v in (t, z))
        slow += float(counts) * 4.0 * (p * np.log(p / q)).sum()
    assert term.sum.item() == pytest.approx(slow, rel=1e-5)
    assert float(term.count) == 3


def test_a_signal_without_classes_is_refused():
    with pytest.raises(TeacherError, match="Features, which holds no probabilities of classes"):
        distillation_loss(torch.zeros(2, 3), Features(features={"a": torch.zeros(2, 1)}))


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ConfigError, match="temperature is 0"):
        forward_kl(torch.zeros(1, 2), torch.zeros(1, 2), temperature=0.0)


@pytest.mark.parametrize("name", ["cross_entropy", "forward_kl", "feature_mse"])
def test_half_precision_is_computed_in_full(name):
    student, teacher = torch.tensor(rows(13, 3, 4)).float(), torch.tensor(rows(14, 3, 4)).float()
    full = LOSSES[name](student.bfloat16().float(), teacher.bfloat16().float()).sum
    torch.testing.assert_close(LOSSES[name](student.bfloat16(), teacher.bfloat16()).sum, full)
