"""Corrections for many verdicts, against scipy and transcriptions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from didact import catalogue
from didact.claims import multiplicity
from didact.claims.multiplicity import benjamini_hochberg, holm
from didact.claims.store import SHIPPED, ResultStore

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(P_VALUES)
def test_false_discoveries_are_controlled_as_in_scipy(p_values):
    wanted = stats.false_discovery_control(p_values, method="bh")
    np.testing.assert_allclose(benjamini_hochberg(p_values), wanted, rtol=1e-9, atol=1e-12)


@given(P_VALUES)
def test_holm_steps_down(p_values):
    """Transcribed from the definition: the largest of the products so far, of the p-values from the smallest on."""
    found, m = holm(p_values), len(p_values)
    for i, p in enumerate(p_values):
        smaller = sorted(p_values)[: sorted(p_values).index(p) + 1]
        least = max(min(1.0, (m - k) * q) for k, q in enumerate(smaller))
        last = len(p_values) - sorted(p_values)[::-1].index(p)
        most = max(min(1.0, (m - k) * q) for k, q in enumerate(sorted(p_values)[:last]))
        assert least <= found[i] + 1e-12 and found[i] <= most + 1e-12
    adjusted = [value for _, value in sorted(zip(p_values, found, strict=True))]
    assert all(a <= b for a, b in pairwise(adjusted))


def test_holm_by_hand():
    # Four p-values of which the first two survive: 0.001 * 4, 0.012 * 3, max(0.036, 0.03 * 2), max(0.06, 0.04).
    assert holm([0.012, 0.04, 0.001, 0.03]) == pytest.approx([0.036, 0.06, 0.004, 0.06])


def test_the_p_values_of_stored_results_are_those_of_the_paired_t_test():
    store, infos = ResultStore(SHIPPED), [catalogue.find(name) for name in ("distill", "relational", "grpo")]
    found = multiplicity.p_values(infos, store)
    for name, p in found.items():
        result = store.read(name)
        claim = result["claim"]
        mine, theirs = (
            [arms[claim[role]]["metrics"][claim["metric"]] for arms in result["seeds"].values()]
            for role in ("method", "baseline")
        )
        kept = result.get("verdicts", {}).get("baseline", {})
        assert p == pytest.approx(stats.ttest_rel(mine, theirs).pvalue, rel=1e-6, abs=1e-12) or kept.get("robust")


def test_how_many_verdicts_come_by_chance_is_told():
    found = multiplicity.correct({"a": 1e-6, "b": 0.012, "c": 0.03, "d": 0.9})
    assert multiplicity.sentence(found) == (
        "3 of 4 intervals exclude zero, as 0.2 would by chance if no method had an effect; 2 remain after Holm's "
        "correction, 3 after that of Benjamini and Hochberg."
    )
    assert multiplicity.correct({"a": 0.0001})["a"] == {"p": 0.0001, "holm": 0.0001, "benjamini_hochberg": 0.0001}
    assert multiplicity.sentence({}) == "No claim is decided yet."
