"""Figures for people."""

import pytest

from didact.evaluation import wording

MINUS = "\u2212"


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "expected"),
    [
        (1234.56, 1, False, "1,234.6"),
        (-0.5, 1, False, f"{MINUS}0.5"),
        (0.5, 1, True, "+0.5"),
        (-0.04, 1, True, "0.0"),
        (0.0, 0, True, "0"),
        (float("inf"), 1, False, "not finite"),
    ],
)
def test_numbers(value, decimals, sign, expected):
    assert wording.number(value, decimals, sign=sign) == expected


@pytest.mark.parametrize(
    ("metric", "value", "like", "expected"),
    [
        ("accuracy", 0.91273, None, "91.3"),
        ("eval/accuracy", 0.91273, 0.012, "91.3"),
        ("nll", 0.41234, None, "0.412"),
        ("nll", 0.41234, 0.05, "0.412"),
        ("rmse", 1234.5, 21.0, "1,234"),
        ("rmse", 0.00123456, None, "0.00123"),
        ("rmse", 5.0, 0.0, "5.00"),
    ],
)
def test_figures_have_the_digits_that_make_sense(metric, value, like, expected):
    assert wording.figure(metric, value, like=like) == expected


@pytest.mark.parametrize(
    ("axis", "value", "expected"),
    [
        ("seconds", 0.0634, "0.063 s"),
        ("seconds", 12.34, "12.3 s"),
        ("seconds", 72.3, "1 min 12 s"),
        ("seconds", 7320, "2 h 02 min"),
        ("peak_memory", 3 * 1024**2, "3 MiB"),
        ("peak_memory", 1023 * 1024, "1023 KiB"),
        ("peak_memory", 0, "\u2013"),
        ("flops", 1.234e12, "1.23 T"),
        ("labels", 100, "100"),
        ("steps", 1234567, "1,234,567"),
        ("teacher_calls", 10.5, "10.5"),
        ("teacher_calls", 12470.3, "12,470"),
    ],
)
def test_costs(axis, value, expected):
    assert wording.cost_figure(axis, value) == expected


def test_lists_read_as_sentences_do():
    assert [wording.join_words(list("abc")[:n]) for n in range(4)] == ["none", "a", "a and b", "a, b and c"]
