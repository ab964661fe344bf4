"""A run that is killed and resumed ends with the weights of one that was left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import METHODS, make_method, quiet_fit, weights
from didact.errors import CheckpointError, RunError
from didact.loop import Budget, load_checkpoint
from didact.loop.checkpoint import TENSORS, list_checkpoints, save_checkpoint
from didact.sources import BatchSource


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_kill_nine_at_twenty_random_moments(name):
    driver = Path(__file__).with_name("kill_driver.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(driver), name], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "same"


def go(problem, directory, steps, *, resume=False, seed=0, name="mean_teacher"):
    method = make_method(name, seed=seed, dropout=0.2)
    source = BatchSource(problem, batch_size=20, views=method.feed.views)
    options = {"run": directory, "checkpoint_every": 5, "resume": resume}
    result = quiet_fit(method, source, budget=Budget(steps=steps), **options)
    return method, result


def test_a_broken_checkpoint_is_named_and_the_one_before_is_used(problem, tmp_path):
    whole, _ = go(problem, tmp_path / "whole", 20)
    go(problem, tmp_path / "broken", 20)
    newest, *_ = list_checkpoints(tmp_path / "broken" / "checkpoints")
    file = newest / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    method, result = go(problem, tmp_path / "broken", 20, resume=True)
    assert newest.name in result.verdicts[0][1].reason
    assert "tensors.safetensors is not what was written" in result.verdicts[0][1].reason
    assert weights(method).keys() == weights(whole).keys()
    assert all(torch.equal(a, b) for a, b in zip(weights(method).values(), weights(whole).values(), strict=True))


def test_an_altered_state_is_noticed(problem, run_directory):
    go(problem, run_directory, 5)
    newest, *_ = list_checkpoints(run_directory / "checkpoints")
    state = newest / "state.json"
    state.write_text(state.read_text().replace('"steps": 5', '"steps": 6'))
    with pytest.raises(CheckpointError, match=r"state\.json is not what was written"):
        load_checkpoint(newest)


def test_no_whole_checkpoint_is_an_error_that_says_why(problem, run_directory):
    go(problem, run_directory, 5)
    for checkpoint in list_checkpoints(run_directory / "checkpoints"):
        (checkpoint / "checksums.json").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint to go on from.*broken"):
        go(problem, run_directory, 10, resume=True)


def test_a_checkpoint_of_another_architecture_is_refused(problem, run_directory):
    go(problem, run_directory, 5)
    with pytest.raises(CheckpointError, match="of another model or method"):
        go(problem, run_directory, 10, resume=True, name="supervised")


def test_a_finished_directory_is_not_overwritten(problem, run_directory):
    go(problem, run_directory, 5)
    with pytest.raises(RunError, match=r"already holds a run.*didact resume"):
        go(problem, run_directory, 5)


def test_a_pickle_is_refused(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="pickled checkpoints are never read"):
        load_checkpoint(tmp_path / "model.pt")


def test_figures_after_the_checkpoint_are_not_written_twice(problem, run_directory):
    go(problem, run_directory, 15)
    for checkpoint in list_checkpoints(run_directory / "checkpoints")[:1]:
        (checkpoint / "checksums.json").unlink()
    _, result = go(problem, run_directory, 15, resume=True)
    steps = [record["step"] for record in result.history if "loss/total" in record]
    assert steps == sorted(set(steps))


def test_what_is_read_begins_where_torch_lets_a_tensor_begin(tmp_path):
    """In the file they need not; products of such a tensor may differ in their last bits."""
    state = {f"t{size}": torch.arange(float(size)) for size in (1, 3, 7, 50)}
    save_checkpoint(tmp_path / "step-1", state)
    assert any(tensor.data_ptr() % 64 for tensor in load_file(tmp_path / "step-1" / TENSORS).values())
    found = load_checkpoint(tmp_path / "step-1")
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values())
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
