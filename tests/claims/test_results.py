"""The stored results: every method but the baselines has one, and it says what its figures say."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from didact import catalogue
from didact.claiming import LEAST_SEEDS
from didact.claims import entries
from didact.claims.store import ResultStore

STORE = ResultStore(Path(__file__).parents[2] / "claims" / "results")
METHODS = {info.name: info for info in catalogue.listing()}
CLAIMING = sorted(name for name, info in METHODS.items() if info.claim is not None)


def test_only_the_baselines_claim_nothing():
    assert set(METHODS) - set(CLAIMING) <= set(entries.baselines())


@pytest.mark.parametrize("name", CLAIMING)
def test_each_claim_has_a_stored_result(name):
    assert STORE.stale(METHODS[name]) is not None, f"`didact replicate {name}` stores its result"


@pytest.mark.parametrize("name", CLAIMING)
def test_the_stored_verdict_is_that_of_the_stored_figures(name):
    claim, found = METHODS[name].claim, STORE.read(name)
    assert found is not None, f"`didact replicate {name}` stores its result"
    kept = found["seeds"]
    assert len(kept) >= LEAST_SEEDS
    assert not {int(seed) for seed in kept} & set(claim.tuned_on)
    method, baseline = (
        np.array([arms[arm]["metrics"][found["claim"]["metric"]] for arms in kept.values()])
        for arm in (found["claim"]["method"], found["claim"]["baseline"])
    )
    apart = method - baseline
    assert found["effect"] == pytest.approx(apart.mean(), abs=1e-12)
    low, high = (
        stats.t.interval(0.95, len(apart) - 1, apart.mean(), stats.sem(apart)) if apart.std() else [apart[0]] * 2
    )
    np.testing.assert_allclose(found["interval"], [low, high], rtol=1e-9, atol=1e-12)
    less_is_better = found["claim"]["metric"] in ("nll", "ece", "rmse", "mae")
    better, worse = (high < 0, low > 0) if less_is_better else (low > 0, high < 0)
    assert found["verdict"] == ("replicated" if better else "opposite" if worse else "not replicated")
