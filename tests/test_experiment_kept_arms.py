"""Comparisons that are stopped, by whatever: what was finished is kept, and the rest can follow."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blobs import DATA
from didact import files
from didact.cli import main, show
from didact.errors import CheckpointError, ConfigError, DataError, DidactError, RunError
from didact.experiment import comparing, running
from didact.loop import progress

SMALL = {"data": DATA, "student": "mlp:8", "labels": 6, "steps": 3, "progress": False, "baselines": "majority"}
ARMS = {"a": "supervised", "b": "supervised,label_smoothing=0.1"}
FLAGS = ["--data", "table.csv", "--student", "mlp:4", "--steps", "3", "--baselines", "none", "--seeds", "0,1"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty directory to work in, with a table of the easy problem."""
    monkeypatch.chdir(tmp_path)
    rows = zip(DATA.tensors["x"].tolist(), DATA.tensors["label"].tolist(), strict=True)
    lines = [",".join([*(f"{v:.4f}" for v in x), DATA.classes[y]]) for x, y in rows]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,d,label", *lines]) + "\n")
    return tmp_path


def figures(comparison):
    """Every figure but the time and memory that it took."""
    document = json.loads(comparison.to_json())
    for arm in document["summary"].values():
        arm.pop("cost")
    for found in document["results"].values():
        for one in found:
            one["cost"] = {axis: spent for axis, spent in one["cost"].items() if axis not in ("seconds", "peak_memory")}
    return document


def kept(directory):
    return len(list((Path(directory) / "arms").glob("*.json")))


KILLED = """
import os, signal, sys
from didact.experiment.arm_store import ArmStore
from didact.cli import main
write = ArmStore.write
def then_killed(self, arm, seed, record):
    write(self, arm, seed, record)
    if (arm, seed) == ("distill", 0):
        os.kill(os.getpid(), signal.SIGKILL)
ArmStore.write = then_killed
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_comparison_goes_on_from_another_folder_and_finds_the_same(work, monkeypatch, capsys):
    words = ["compare", "supervised", "distill", *FLAGS, "--teacher", "mlp:6"]
    assert main([*words, "--out", "whole"]) == 0
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *words, "--out", "runs/killed"], timeout=100, capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    assert kept("runs/killed") == 2
    assert not Path("runs/killed/result.json").exists()
    taught = []
    execute = running.execute
    monkeypatch.setattr(
        running,
        "execute",
        lambda config, *a, **k: taught.append((config.method, config.seed)) or execute(config, *a, **k),
    )
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    assert main(["resume", "../runs/killed"]) == 0
    assert taught == [("supervised", 1), ("distill", 1)]
    whole, found = comparing.read(work / "whole"), comparing.read(work / "runs/killed")
    assert figures(found.comparison) == figures(whole.comparison)
    assert [len(curves) for curves in found.curves.values()] == [2, 2]
    assert "beats" in capsys.readouterr().out or whole.comparison.sentence()


def test_a_full_disk_and_an_interruption_keep_what_is_finished(tmp_path, monkeypatch):
    whole = comparing.compare(ARMS, seeds=(0, 1), **SMALL)
    flush, calls = files._flush, []

    def full(path):
        calls.append(path)
        if len([one for one in calls if "arms" in str(one) and one.suffix]) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        flush(path)

    monkeypatch.setattr(files, "_flush", full)
    with pytest.raises(OSError, match="No space left"):
        comparing.compare(ARMS, seeds=(0, 1), directory=tmp_path / "c", **SMALL)
    monkeypatch.undo()
    assert kept(tmp_path / "c") == 2
    assert not list((tmp_path / "c").rglob(".*"))

    def stop(arm, seed, _result):
        if (arm, seed) == ("majority", 0):
            raise KeyboardInterrupt

    early = comparing.compare(ARMS, seeds=(0, 1), directory=tmp_path / "c", resume=True, on_result=stop, **SMALL)
    assert (early.interrupted, early.comparison.seeds, kept(tmp_path / "c")) == (True, (0,), 3)
    early.write(tmp_path / "c")
    found = comparing.compare(ARMS, seeds=(0, 1), directory=tmp_path / "c", resume=True, **SMALL)
    assert figures(found.comparison) == figures(whole.comparison)
    with pytest.raises(RunError, match="already holds a run or a comparison"):
        comparing.compare(ARMS, seeds=(0, 1), directory=tmp_path / "c", **SMALL)
    with pytest.raises(CheckpointError, match="budget is"):
        comparing.compare(ARMS, seeds=(0, 1), directory=tmp_path / "c", resume=True, **{**SMALL, "steps": 4})
    with pytest.raises(ConfigError, match="given its data from Python"):
        comparing.resume(tmp_path / "c")
    one = next((tmp_path / "c" / "arms").glob("*.json"))
    one.write_text(one.read_text().replace("accuracy", "acuracy"))
    with pytest.raises(DataError, match=f"{one.name} is broken: its content is not what was written"):
        comparing.compare(ARMS, seeds=(0, 1), directory=tmp_path / "c", resume=True, **SMALL)


def test_an_arm_that_diverges_is_a_row_and_is_not_run_again(tmp_path, monkeypatch):
    arms = {**ARMS, "wild": "supervised,lr=1e30,optimizer=sgd"}
    found = comparing.compare(arms, seeds=(0, 1), directory=tmp_path / "c", **SMALL)
    calm = comparing.compare(ARMS, seeds=(0, 1), **SMALL)
    assert found.comparison.arms == calm.comparison.arms
    assert found.comparison.difference("b") == calm.comparison.difference("b")
    assert list(found.comparison.failures) == ["wild"]
    assert found.comparison.failures["wild"].startswith("wild failed with seeds 0, 1: The learner's predictions")
    assert "wild failed with seeds 0, 1" in found.write(tmp_path / "c").read_text()
    monkeypatch.setattr(running, "execute", lambda *_, **__: pytest.fail("run again"))
    again = comparing.compare(arms, seeds=(0, 1), directory=tmp_path / "c", resume=True, **SMALL)
    assert again.comparison == found.comparison


def test_all_seeds_and_all_outputs_are_checked_first(work, monkeypatch, capsys):
    monkeypatch.setattr(running, "fit", lambda *_, **__: pytest.fail("computed before all was checked"))
    prepare = comparing.prepare

    def third(config, *args, **options):
        if config.seed == 2:
            raise DataError("The test split is empty.")
        return prepare(config, *args, **options)

    monkeypatch.setattr(comparing, "prepare", third)
    with pytest.raises(DidactError, match="With seed 2, the arm 'b' cannot run: The test split is empty"):
        comparing.compare(ARMS, seeds=(0, 1, 2), **SMALL)
    Path("a_file").touch()
    for flag in ("--json", "--report"):
        for path in ("a_file/out", "."):
            assert main(["compare", "supervised", *FLAGS, flag, path]) == 2
            assert f"{flag[2:]} is {path!r}, which" in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_a_piped_comparison_tells_how_far_it_is_and_makes_the_folders_of_its_outputs(work, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(show, "LINE_SECONDS", 0.0)
    assert main(["compare", "supervised", *FLAGS, "--json", "nowhere/out.json", "--out", "c"]) == 0
    lines = capsys.readouterr().err.splitlines()
    accuracy = json.loads(Path("nowhere/out.json").read_text())["results"]["supervised"][1]["metrics"]["accuracy"]
    assert any(line.startswith("supervised, seed 0: 33%, ") for line in lines), lines
    assert f"seed 1: supervised {100 * accuracy:.1f}% accuracy (2 results)" in lines, lines
    assert main(["compare", "supervised", *FLAGS, "--no-progress", "--out", "d"]) == 0
    assert not any("%," in line for line in capsys.readouterr().err.splitlines())
