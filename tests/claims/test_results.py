"""The stored results: every method but the baselines has one, and it says what its figures say."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from didact import catalogue
from didact.claiming import LEAST_SEEDS
from didact.claims import entries
from didact.claims.store import SHIPPED, ResultStore, directory

STORE = ResultStore(SHIPPED)
METHODS = {info.name: info for info in catalogue.listing()}
CLAIMING = sorted(name for name, info in METHODS.items() if info.claim is not None)


def test_an_installed_package_shows_the_stored_verdicts(tmp_path, monkeypatch):
    """What the wheel holds is copied, as a package manager would, and asked from a folder without a repository."""
    root = Path(__file__).parents[2]
    build = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in build["packages"]:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / package, tmp_path / "site" / Path(package).name, ignore=ignored)
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "didact", "list", "--json"],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    shown = {entry["name"]: entry["claim"]["verdict"] for entry in json.loads(done.stdout) if entry["claim"]}
    stored = {name: STORE.read(name)["verdict"] for name in CLAIMING}
    assert shown == stored
    monkeypatch.chdir(tmp_path / "work")
    assert directory() == tmp_path / "work" / "claims" / "results"
    monkeypatch.chdir(root / "docs")
    assert directory() == SHIPPED == ResultStore().path


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
    assert found["verdict"] == ("better" if better else "worse" if worse else "undecided")
