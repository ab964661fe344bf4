"""The stored results: every method but the baselines has one, and it says what its figures say."""

import importlib.util
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
from didact.claiming import LEAST_SEEDS, Claim
from didact.claims import deciding, entries, multiplicity
from didact.claims.store import SHIPPED, ResultStore, directory
from didact.evaluation import ArmResult, Comparison
from didact.types import LOWER_IS_BETTER, Cost

STORE, ROOT = ResultStore(SHIPPED), Path(__file__).parents[2]
METHODS = {info.name: info for info in catalogue.listing()}
CLAIMING = sorted(name for name, info in METHODS.items() if info.claim is not None)


@pytest.mark.slow
def test_an_installed_package_shows_the_stored_verdicts(tmp_path, monkeypatch):
    """What the wheel holds is copied, as a package manager would, and asked from a folder without a repository."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in build["packages"]:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / "site" / Path(package).name, ignore=ignored)
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
    stored = {name: (STORE.read(name) or {"verdict": None})["verdict"] for name in CLAIMING}
    assert shown == stored
    monkeypatch.chdir(tmp_path / "work")
    assert directory() == tmp_path / "work" / "claims" / "results"
    monkeypatch.chdir(ROOT / "docs")
    assert directory() == SHIPPED == ResultStore().path


def test_only_the_baselines_claim_nothing():
    assert set(METHODS) - set(CLAIMING) <= set(entries.baselines())


@pytest.mark.parametrize("name", CLAIMING)
def test_each_claim_has_a_stored_result_or_is_shown_to_have_none(name):
    """A new claim is run by hand, with `make claims`; until then the list says so, and no figure counts it."""
    if STORE.read(name) is None:
        assert entries.verdict_words([METHODS[name]], STORE) == ["not run yet"]


DECIDING = [name for name in CLAIMING if "first_verdict" not in (STORE.read(name) or {"first_verdict": ""})]
FIRST_DESIGN = [name for name in CLAIMING if "first_verdict" in (STORE.read(name) or {})]


def figures(found):
    """By arm of a stored result, its metric with each seed."""
    claim, kept = found["claim"], found["seeds"].values()
    return {arm: np.array([arms[arm]["metrics"][claim["metric"]] for arms in kept], float) for arm in claim["arms"]}


def shows_nothing(found, arm):
    """Why no verdict against an arm may rest on the stored figures; transcribed from the guide to claims."""
    claim, rows, least = found["claim"], figures(found), found["claim"]["smallest_effect"]
    sign = -1.0 if claim["metric"] in LOWER_IS_BETTER else 1.0
    mine, theirs = rows[claim["method"]], rows[arm]
    level = {name: row.mean() for name, row in rows.items()}
    if (mine == theirs).mean() >= 0.8:
        return "identical"
    spread = mine.std() * theirs.std()
    if spread and np.corrcoef(mine, theirs)[0, 1] >= 0.99 and abs(mine.mean() - theirs.mean()) < least:
        return "correlated"
    if max(level.values()) - min(level.values()) < least:
        return "all alike"
    if arm == claim["untaught"]:
        return ""
    if claim["untaught"] and sign * (level[arm] - level[claim["untaught"]]) < least:
        return "untrained"
    best = {"accuracy": 1.0, "balanced_accuracy": 1.0, "r2": 1.0}.get(claim["metric"], 0.0 if sign < 0 else None)
    return "saturated" if best is not None and abs(best - level[arm]) < least else ""


@pytest.mark.parametrize("name", DECIDING)
def test_no_stored_verdict_rests_on_arms_that_show_nothing(name):
    found = STORE.read(name)
    for role, one in found["verdicts"].items():
        reason = shows_nothing(found, found["claim"][role])
        assert one["verdict"] == "undecided" or not reason, (role, reason)
        # Of results from before there was a floor, none is known.
        if (
            one["verdict"] in ("better", "equivalent")
            and "floor" in found
            and abs(one["effect"]) < found["floor"]["rms"]
        ):
            assert one["caveats"], role


@pytest.mark.parametrize("name", DECIDING)
def test_the_stored_verdicts_are_those_of_the_stored_figures(name):
    found = STORE.read(name)
    claim = Claim(**{**found["claim"], **{one: tuple(found["claim"][one]) for one in ("seeds", "tuned_on", "systems")}})
    rows = figures(found)
    results = {
        arm: tuple(ArmResult({claim.metric: float(value)}, Cost()) for value in row) for arm, row in rows.items()
    }
    lower = claim.metric in LOWER_IS_BETTER
    seeds = tuple(map(int, found["seeds"]))
    compared = Comparison(
        metric=claim.metric,
        higher_is_better=not lower,
        reference=claim.baseline,
        seeds=seeds,
        results=results,
        smallest_effect=claim.smallest_effect,
    )
    for one in deciding.outcomes(claim, compared, found["teachers"], found.get("floor", {}).get("rms", 0.0)):
        stored = {"caveats": [], **found["verdicts"][one.role]}
        assert one.as_dict() == {**stored, "effect": pytest.approx(stored["effect"]), "interval": stored["interval"]}
        if not one.effect.robust:
            apart = rows[claim.method] - rows[one.arm]
            ends = (
                stats.t.interval(0.95, len(apart) - 1, apart.mean(), stats.sem(apart))
                if apart.std()
                else [apart[0]] * 2
            )
            np.testing.assert_allclose(stored["interval"], ends, rtol=1e-6, atol=1e-9)
    if "floor" not in found:
        return
    first, again = (np.array(found["floor"][one]) for one in ("first", "again"))
    assert found["floor"]["rms"] == pytest.approx(np.sqrt(np.mean((first - again) ** 2)))
    np.testing.assert_array_equal(first, rows[claim.method][: len(first)])


@pytest.mark.parametrize("name", FIRST_DESIGN)
def test_results_of_the_first_design_are_shown_as_such_and_decide_nothing(name):
    (word,) = entries.verdict_words([METHODS[name]], STORE)
    assert word.startswith(("first design", "not run yet"))
    assert multiplicity.corrected([METHODS[name]], STORE) == {}


@pytest.mark.parametrize("name", FIRST_DESIGN)
def test_the_first_verdict_is_that_of_the_stored_figures(name):
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
    assert found["first_verdict"] == ("better" if better else "worse" if worse else "undecided")


def documentation(name):
    """A script that makes parts of the documentation."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_is_stored():
    pages, readme = documentation("pages"), (ROOT / "README.md").read_text(encoding="utf-8")
    assert pages.with_summary(readme, STORE) == readme, "`make verdicts` writes the README"
    assert pages.summary(STORE) in readme


def test_docstrings_say_what_is_stored():
    assert not list(documentation("outcomes").docstrings(STORE)), "`make verdicts` writes them"


def told(role, arm, verdict, effect, low, high, **more):
    return {role: {"arm": arm, "verdict": verdict, "effect": effect, "interval": [low, high], "marks": [], **more}}


def test_an_outcome_is_told_in_a_sentence():
    outcomes = documentation("outcomes")
    claim = {
        "world": "digits",
        "settings": {"labels": 100},
        "metric": "accuracy",
        "arms": {"fitnet": {"method": "fitnet"}, "distill": {"method": "distill"}, "plain": {"method": "supervised"}},
        "search": {"distill": {}},
        "method": "fitnet",
        "baseline": "distill",
    }
    verdicts = {
        **told("baseline", "distill", "worse", -0.012, -0.02, -0.004, caveats=["A rerun changes more."]),
        **told("cheap", "plain", "equivalent", 0.0, -0.0041, 0.004),
        **told("ablation", "no hints", "undecided", 0.5, 0.1, 0.9),
    }
    cost = {"arms": {"fitnet": {"flops": 300.0}, "distill": {"flops": 200.0}}}
    found = {"claim": claim, "verdicts": verdicts, "cost": cost}
    said = (
        "On `digits` with 100 labels, it is worse than a tuned `distill` by 1.2 points (0.4 to 2.0), equivalent to "
        '"plain" (0.0, -0.4 to +0.4), and undecided against itself without its mechanism ("no hints") (+50.0, '
        "+10.0 to +90.0); a single run does not show that. Training takes 1.5 times the operations of the baseline."
    )
    assert outcomes.outcome(found) == said
    bare = "A method.\n\nDepartures: none.\n"
    once = outcomes.with_outcome(bare, found)
    assert " ".join(once.split()) == f"A method. Departures: none. {said}"
    assert outcomes.with_outcome(once, found) == once
    assert outcomes.with_outcome(once, None) == bare
    verdicts["baseline"] = told("", "distill", "undecided", 0.1, 0.0, 0.2, marks=["The teacher knows nothing."])[""]
    assert "; the teacher knows nothing. Training" in outcomes.outcome(found)
