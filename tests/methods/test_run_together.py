"""`didact run` in several processes, as `torchrun` starts them, gives what it gives in one."""

import json

import pytest
from safetensors.torch import load_file

from didact.cli import main
from together import run_together

DIGITS = ["--data", "digits", "--student", "mlp:16", "--batch-size", "256", "--no-progress"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where runs go; nothing is kept for other tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIDACT_CACHE", "")
    return tmp_path


def both(*words):
    """A run in one process, and one in two; what the two wrote to their standard output."""
    assert main([*words, "--out", "alone"]) == 0
    return run_together(["-m", "didact", *words, "--out", "shared"], 2)


def check_same(folder):
    """The two runs delivered the same student, and wrote the same figures."""
    alone, shared = (load_file(folder / name / "student" / "weights.safetensors") for name in ("alone", "shared"))
    assert alone.keys() == shared.keys()
    for name, tensor in alone.items():
        assert (tensor - shared[name]).abs().max() < 1e-5, name
    first, second = (json.loads((folder / name / "result.json").read_text()) for name in ("alone", "shared"))
    assert first["metrics"]["accuracy"] == second["metrics"]["accuracy"]
    for axis in ("labels", "examples", "steps", "flops"):
        assert first["cost"][axis] == second["cost"][axis], axis
    # Each process keeps what its teacher said of its own rows, and may meet a row that another one has asked about.
    calls = [one["cost"]["teacher_calls"] for one in (first, second)]
    assert 0 < calls[0] <= calls[1] <= 2 * calls[0]
    assert len((folder / "alone/metrics.jsonl").read_text().splitlines()) == len(
        (folder / "shared/metrics.jsonl").read_text().splitlines()
    )


@pytest.mark.slow
def test_a_run_with_a_teacher_that_is_trained_first(folder):
    said = both("distill", "--teacher", "warm:2:mlp:32", "--epochs", "2", *DIGITS)
    check_same(folder)
    assert "accuracy" in said[0]
    assert said[1] == ""


def test_other_commands_are_refused(folder, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["compare", "supervised", "--data", "digits"]) == 2
    found = " ".join(capsys.readouterr().err.split())
    assert "`didact compare` was started in 2 processes, but only run, distill, resume can use them" in found
