"""Arms that several claims have are run once, and come out the same."""

from dataclasses import replace

import pytest

from didact import files
from didact.claims import sharing, workers
from didact.experiment import comparing, keeping

SMALL = {"labels": 40, "steps": 8, "student": "mlp:4", "teacher": "mlp:8", "teacher_epochs": 1}
ARMS = {"distill": "distill", "plain": {"method": "supervised", "lr": 0.01}, "label_spreading": "label_spreading"}


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """The arms that were run, a list for each comparison."""
    monkeypatch.setenv(files.CACHE, str(tmp_path))
    known, found, compare = workers.claim_of, [], comparing.compare
    monkeypatch.setattr(workers, "claim_of", lambda info: replace(known(info), settings=SMALL, world="wine", search={}))
    monkeypatch.setattr(comparing, "compare", lambda arms, **rest: (found.append(list(arms)), compare(arms, **rest))[1])
    return found


def teach(arms, seed=400):
    return workers.teach(workers.Task(key="distill", world="wine", seed=seed, arms=arms, stages={}, records=False))


def without_time(found):
    for arm in found["arms"].values():
        arm["cost"].pop("seconds", None)
        arm["cost"].pop("peak_memory", None)
    for figures in found["teachers"].values():
        figures.pop("cost/seconds", None)
    return found


def test_arms_that_were_run_are_not_run_again_and_are_the_same(ran):
    first = teach(ARMS)
    other = {"label_spreading": "label_spreading", "wide": {"method": "distill", "student": "mlp:6"}}
    again = teach({**ARMS, **other, "no teacher": {"method": "supervised", "lr": 0.01}})
    assert ran == [["distill", "plain", "label_spreading"], ["wide"]]
    assert list(again["arms"]) == ["distill", "plain", "label_spreading", "wide", "no teacher"]
    assert {name: again["arms"][name] for name in ARMS} == first["arms"]
    assert again["arms"]["no teacher"] == first["arms"]["plain"]
    assert again["teachers"].keys() == first["teachers"].keys() == {"mlp:8"}


def test_a_shared_arm_is_what_a_run_of_its_own_gives(ran, monkeypatch):
    teach(ARMS)
    shared = teach({"wide": {"method": "distill", "student": "mlp:6"}, **ARMS})
    monkeypatch.setenv(files.CACHE, "")
    alone = teach({"wide": {"method": "distill", "student": "mlp:6"}, **ARMS})
    assert without_time(shared) == without_time(alone)


@pytest.mark.parametrize("change", ["seed", "settings", "code", "baseline"])
def test_another_run_is_run(ran, monkeypatch, change):
    teach({"distill": "distill"})
    if change == "settings":
        monkeypatch.setitem(SMALL, "steps", 9)
    if change == "code":
        monkeypatch.setattr(keeping, "_code", lambda: "another")
    more = {"label_spreading": "label_spreading"} if change == "baseline" else {}
    teach({"distill": "distill", **more}, seed=401 if change == "seed" else 400)
    assert ran == [["distill"], ["distill", *more]]


def test_runs_of_few_states_of_the_code_are_kept(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "KEPT", 2)
    for number in range(3):
        monkeypatch.setattr(keeping, "_code", lambda number=number: str(number))
        teach({"distill": "distill"})
    assert len(list((tmp_path / sharing.FOLDER).iterdir())) == sharing.KEPT
