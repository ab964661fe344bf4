"""EffectiveRank and PredictionEntropy against closed forms and slow transcriptions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import ConfigError
from didact.health.effective_rank import EffectiveRank, effective_rank
from didact.health.prediction_entropy import PredictionEntropy, prediction_entropies
from didact.health.silent_classes import SilentClasses
from didact.types import Output, Window


def window(output=None, *, step=50):
    losses = {"total": torch.ones(50, dtype=torch.float64)}
    probe = None if output is None else lambda: output
    return Window(step=step, losses=losses, grad_norm=torch.empty(0), finite=True, probe=probe)


def with_singular_values(values, *, rows=40, width=30, seed=0):
    """A centred matrix with exactly these singular values."""
    generator = np.random.default_rng(seed)
    basis = generator.standard_normal((rows, len(values)))
    left = np.linalg.qr(basis - basis.mean(0))[0]
    right = np.linalg.qr(generator.standard_normal((width, len(values))))[0]
    return torch.from_numpy(left @ np.diag(values) @ right.T)


def slow_rank(matrix):
    singular = np.linalg.svd(matrix - matrix.mean(0), compute_uv=False)
    share = singular / singular.sum()
    return math.exp(-sum(p * math.log(p) for p in share if p > 1e-12))


def test_equal_singular_values_give_their_number():
    assert effective_rank(with_singular_values([3.0] * 7)) == pytest.approx(7.0, rel=1e-9)


def test_two_unequal_singular_values_in_closed_form():
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(with_singular_values([3.0, 1.0])) == pytest.approx(expected, rel=1e-9)


def test_a_shift_of_every_row_changes_nothing():
    matrix = with_singular_values([5.0, 4.0, 1.0])
    assert effective_rank(matrix + 100.0) == pytest.approx(effective_rank(matrix), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_the_rank_agrees_with_a_singular_value_decomposition(rows, width, seed):
    matrix = np.random.default_rng(seed).standard_normal((rows, width))
    assert effective_rank(torch.from_numpy(matrix)) == pytest.approx(slow_rank(matrix), rel=1e-6)


def test_rounding_in_half_precision_is_not_taken_for_directions():
    constant = torch.full((64, 32), 3.1416) + 1e-7 * torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    assert effective_rank(constant) == 0.0
    line = torch.linspace(-1, 1, 64)[:, None] * torch.ones(32)
    assert effective_rank((line + 5).to(torch.bfloat16)) < 3


def test_hidden_states_of_more_axes_are_flattened():
    matrix = with_singular_values([2.0, 2.0], width=30)
    assert effective_rank(matrix.reshape(40, 5, 6)) == pytest.approx(2.0, rel=1e-9)


def test_a_representation_on_two_directions_for_ten_classes_is_a_collapse():
    hidden = with_singular_values([1.0, 1.0], rows=128, width=256).float()
    verdict = EffectiveRank(minimum=0.05).observe(window(Output(logits=torch.randn(128, 10), hidden=hidden)))
    assert verdict.level == "warn"
    assert verdict.figure == pytest.approx(2.0, rel=1e-3)
    assert "2.0 of 128" in verdict.reason


def test_a_fall_from_its_own_highest_is_a_collapse():
    monitor = EffectiveRank(collapse=0.2)
    logits = torch.randn(128, 20)
    wide, narrow = (with_singular_values([1.0] * k, rows=128, width=64) for k in (60, 6))
    assert monitor.observe(window(Output(logits=logits, hidden=wide))).level == "ok"
    verdict = monitor.observe(window(Output(logits=logits, hidden=narrow)))
    assert verdict.level == "warn"
    assert "60.0 before" in verdict.reason


def test_neural_collapse_of_a_classifier_is_no_alarm():
    monitor = EffectiveRank()
    logits = torch.randn(128, 3)
    for k in (60, 2):
        hidden = with_singular_values([1.0] * k, rows=128, width=256)
        assert monitor.observe(window(Output(logits=logits, hidden=hidden))).level == "ok"


def test_the_same_hidden_state_for_every_example_is_a_collapse_for_any_task():
    verdict = EffectiveRank(action="stop").observe(window(Output(logits=torch.randn(8, 1), hidden=torch.ones(8, 4))))
    assert (verdict.level, verdict.figure) == ("stop", 0.0)


def test_no_hidden_states_and_no_probe_are_fine():
    assert EffectiveRank().observe(window()).level == "ok"
    verdict = EffectiveRank().observe(window(Output(logits=torch.randn(8, 3))))
    assert verdict.level == "ok" and "no hidden states" in verdict.reason


def test_hidden_states_that_are_not_numbers_are_objected_to():
    hidden = torch.randn(8, 4)
    hidden[3, 2] = math.nan
    assert EffectiveRank().observe(window(Output(logits=torch.randn(8, 3), hidden=hidden))).level == "warn"


def test_the_rank_monitor_resumes():
    first, second = EffectiveRank(), EffectiveRank()
    logits = torch.zeros(128, 20)
    first.observe(window(Output(logits=logits, hidden=with_singular_values([1.0] * 60, rows=128, width=64))))
    second.load_state_dict(first.state_dict())
    narrow = Output(logits=logits, hidden=with_singular_values([1.0] * 6, rows=128, width=64))
    for seen in (window(), window(narrow)):
        assert first.observe(seen) == second.observe(seen)


def test_entropies_in_closed_form():
    certain = torch.tensor([[50.0, -50.0], [-50.0, 50.0]], dtype=torch.float64)
    assert prediction_entropies(certain) == pytest.approx((1.0, 0.0), abs=1e-12)
    skewed = torch.log(torch.tensor([[0.75, 0.25], [0.75, 0.25]], dtype=torch.float64))
    expected = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert prediction_entropies(skewed) == pytest.approx((expected, expected), rel=1e-12)
    mixed = torch.log(torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64))
    of_mean = -(0.7 * math.log2(0.7) + 0.3 * math.log2(0.3))
    mean_of = (1.0 - 0.9 * math.log2(0.9) - 0.1 * math.log2(0.1)) / 2
    assert prediction_entropies(mixed) == pytest.approx((of_mean, mean_of), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 30), classes=st.integers(2, 12), scale=st.floats(0.0, 30.0), seed=st.integers(0, 99))
def test_both_entropies_are_fractions_and_ordered(rows, classes, scale, seed):
    logits = scale * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))
    of_mean, mean_of = prediction_entropies(logits)
    assert -1e-12 <= mean_of <= of_mean + 1e-12 <= 1 + 2e-12


def test_answers_that_are_all_the_same_class_are_named():
    logits = torch.randn(128, 10, generator=torch.Generator().manual_seed(0))
    logits[:, 7] += 20
    verdict = PredictionEntropy().observe(window(Output(logits=logits)))
    assert verdict.level == "warn" and "class number 7" in verdict.reason
    assert verdict.figure == pytest.approx(prediction_entropies(logits)[0])


def test_varied_and_undecided_answers_are_fine():
    assert PredictionEntropy().observe(window(Output(logits=torch.zeros(128, 10)))).level == "ok"
    certain = 50 * torch.eye(10).repeat(10, 1)
    assert PredictionEntropy().observe(window(Output(logits=certain))).figure == pytest.approx(1.0)


def test_a_regression_and_an_unprobed_window_are_fine():
    monitor = PredictionEntropy()
    assert monitor.observe(window(Output(logits=torch.randn(8, 1)))).level == "ok"
    figure = monitor.observe(window(Output(logits=torch.zeros(8, 4)))).figure
    resumed = PredictionEntropy()
    resumed.load_state_dict(monitor.state_dict())
    assert resumed.observe(window()).figure == figure == pytest.approx(1.0)


def test_predictions_that_are_not_numbers_are_objected_to():
    assert PredictionEntropy().observe(window(Output(logits=torch.full((8, 4), math.nan)))).level == "warn"


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: EffectiveRank(minimum=-0.1), "minimum"),
        (lambda: EffectiveRank(collapse=1.5), "collapse"),
        (lambda: PredictionEntropy(minimum=math.nan), "minimum"),
        (lambda: PredictionEntropy(action="shout"), "action"),
    ],
)
def test_fractions_outside_their_range_are_refused(make, field):
    with pytest.raises(ConfigError, match=field):
        make()


def answering(*rows):
    """An output whose rows have these probabilities, each the given number of times."""
    return Output(logits=torch.tensor([row for row, count in rows for _ in range(count)]).log())


def test_a_class_that_is_probable_but_never_predicted_is_named_once():
    # Of 100 rows class 1 should have had 17 and class 2 only 2.
    silent = answering(([0.81, 0.17, 0.02], 100))
    monitor = SilentClasses(persist=2)
    verdicts = [monitor.observe(window(output)) for output in (silent, silent, None, silent)]
    assert [(verdict.level, verdict.figure) for verdict in verdicts] == [("ok", 0), ("warn", 1), ("ok", 1), ("ok", 1)]
    assert "class number 1, although" in verdicts[1].reason
    # Once it is predicted again it is forgotten, and named again when it falls silent once more.
    speaking = answering(([0.81, 0.17, 0.02], 99), ([0.1, 0.8, 0.1], 1))
    levels = [monitor.observe(window(output)).level for output in (speaking, silent, silent)]
    assert levels == ["ok", "ok", "warn"]


def test_a_rare_class_and_a_regression_are_no_reason_to_object():
    monitor = SilentClasses(persist=1)
    assert monitor.observe(window(answering(([0.98, 0.02], 100)))).level == "ok"
    assert monitor.observe(window(Output(logits=torch.zeros(100, 1)))).level == "ok"
    assert monitor.observe(window(answering(([0.96, 0.04], 100)))).level == "warn"


def test_silent_classes_are_remembered_in_a_state():
    silent = answering(([0.8, 0.2], 50))
    first, second = SilentClasses(persist=2), SilentClasses(persist=2)
    first.observe(window(silent))
    second.load_state_dict(first.state_dict())
    assert first.observe(window(silent)) == second.observe(window(silent))
    assert second.observe(window(silent)).level == "ok"
