"""Files that are there whole or not at all, and say so when they were altered."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from didact import files
from didact.errors import CheckpointError
from didact.loop.checkpoint import save_checkpoint

TENSORS = {
    "b": torch.arange(6.0).reshape(2, 3),
    "a": torch.tensor([True, False]),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "none": torch.zeros(0, 4),
    "one": torch.tensor(7),
}
STRIDE = 11
"""Between the bits that are turned over; it meets all eight of a byte."""


def flipped(path, bit):
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_tensors_and_facts_come_back(tmp_path):
    path = tmp_path / "deep" / "a.safetensors"
    files.write_tensors(path, TENSORS, {"spec": "mlp:8", "sizes": (1, 2)})
    tensors, facts = files.read_tensors(path)
    assert facts == {"spec": "mlp:8", "sizes": [1, 2]}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert all(tensors[name].dtype == TENSORS[name].dtype for name in TENSORS)
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_any_bit_of_a_file_of_tensors_counts(tmp_path):
    path = tmp_path / "a.safetensors"
    files.write_tensors(path, TENSORS, {"spec": "mlp:8"})
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), STRIDE):
        path.write_bytes(whole)
        flipped(path, bit)
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            files.read_tensors(path)


def test_any_bit_of_a_directory_counts(tmp_path):
    with files.whole_directory(tmp_path / "model") as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "a.json").write_text("{}")
        (directory / "b.txt").write_text("abc")
    files.check_directory(tmp_path / "model")
    for path in [p for p in (tmp_path / "model").rglob("*") if p.is_file()]:
        whole = path.read_bytes()
        for bit in range(0, 8 * len(whole), STRIDE):
            flipped(path, bit)
            with pytest.raises(CheckpointError, match="model is broken"):
                files.check_directory(tmp_path / "model")
            path.write_bytes(whole)
    files.check_directory(tmp_path / "model")
    (tmp_path / "model" / "b.txt").unlink()
    with pytest.raises(CheckpointError, match=r"b\.txt"):
        files.check_directory(tmp_path / "model")


def test_a_directory_is_replaced_or_kept_and_nothing_else_is_left(tmp_path):
    for content, replace, wanted in (("1", True, "1"), ("2", True, "2"), ("3", False, "2")):
        with files.whole_directory(tmp_path / "a", replace=replace) as directory:
            (directory / "x").write_text(content)
        assert (tmp_path / "a" / "x").read_text() == wanted
        files.check_directory(tmp_path / "a")
    with pytest.raises(RuntimeError), files.whole_directory(tmp_path / "a") as directory:
        (directory / "x").write_text("4")
        raise RuntimeError
    assert (tmp_path / "a" / "x").read_text() == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError), files.whole_file(path) as partial:
        partial.write_text("af")
        raise RuntimeError
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


TWO_RUNS = """
import sys
import didact
out = sys.argv[1]
didact.run(method="distill", data="digits", teacher="mlp:8", student="mlp:4", steps=3, teacher_epochs=1,
           directory=out + "/net",
           progress=False)
didact.run(method="sft", data="addition", student="warm:2:decoder:1x16", steps=2, directory=out + "/words",
           sampling={"max_new_tokens": 4}, progress=False)
"""


@pytest.mark.slow
def test_equal_runs_write_equal_bytes(tmp_path):
    """In processes of their own, whose dictionaries and sets are in another order."""
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "DIDACT_CACHE": ""}
        subprocess.run([sys.executable, "-c", TWO_RUNS, str(tmp_path / seed)], env=env, check=True)
    patterns = ("net/student/*", "net/teachers/*/weights*", "words/student/*", "words/teachers/*/weights*")
    first = [path for pattern in patterns for path in sorted((tmp_path / "1").glob(pattern))]
    assert len(first) >= 7
    for path in first:
        assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes(), path


def test_a_file_of_tensors_has_one_entry_of_metadata(tmp_path):
    """Several would be written in an order of safetensors' own, which changes from call to call."""
    files.write_tensors(Path(tmp_path / "a.safetensors"), TENSORS, {})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert list(file.metadata()) == ["didact"]
        assert set(json.loads(file.metadata()["didact"])) == {"checksum"}


def test_all_files_can_be_read_by_whom_the_umask_lets(tmp_path):
    (tmp_path / "plain").touch()
    usual = (tmp_path / "plain").stat().st_mode
    files.write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(2)}, {})
    save_checkpoint(tmp_path / "step-1", {"x": torch.ones(2)})
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 5
    assert {path.stat().st_mode for path in written} == {usual}
