"""Questions whose rows stay on the disk: the same as those that are held, in little memory, with the same runs."""

import gzip
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import didact
from didact.errors import DataError
from didact.learners.tokenizers import ByteTokens
from didact.sources import (
    CompletionSource,
    distinct_ids,
    fingerprint_questions,
    join_questions,
    load_questions,
    split_questions,
    stored,
)

ROWS = [
    {"instruction": f"Say {i}\nü" + "." * (i % 7), "output": f"{i}!", "tests": [i] if i % 3 else None}
    for i in range(200)
]
ASK, SAY = {"role": "user"}, {"role": "assistant"}
CHAT = [{"messages": [{**ASK, "content": f"{i}?"}, {**SAY, "content": f"{i}"}]} for i in range(90)]
PAIRS = [{"prompt": f"{i}?", "chosen": f"{i}", "rejected": f"{i + 1}"} for i in range(90)]


def write(path: Path, rows: list[dict]) -> Path:
    lines = "".join(f"{json.dumps(row)}\n{' ' * (i % 2)}\n" for i, row in enumerate(rows)).encode()
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines))
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=70)
    else:
        path.write_bytes(b"\xef\xbb\xbf" + lines)
    return path


@pytest.fixture
def small(monkeypatch):
    """Every file counts as large."""
    monkeypatch.setattr(stored, "HELD", 0)


def both(path, monkeypatch, **options):
    """The questions of a file, held and stored."""
    with monkeypatch.context() as patch:
        patch.setattr(stored, "HELD", 0)
        lazy = load_questions(path, **options)
    held = load_questions(path, **options)
    assert lazy.stored and not held.stored
    return held, lazy


@pytest.mark.parametrize("rows", [ROWS, CHAT, PAIRS])
@pytest.mark.parametrize("name", ["q.jsonl", "q.jsonl.gz", "q.parquet"])
def test_stored_questions_are_the_held_ones(tmp_path, monkeypatch, rows, name):
    held, lazy = both(write(tmp_path / name, rows), monkeypatch)
    assert list(lazy) == list(held)
    assert lazy[3:5] == held[3:5] and lazy[-1] == held[-1]
    assert lazy.layouts == (f"{held.layouts[0]} Rows stay on the disk.",)
    assert fingerprint_questions(lazy) == fingerprint_questions(held)
    for one, other in zip(split_questions(held), split_questions(lazy), strict=True):
        assert other.stored and list(other) == list(one)


def test_columns_ids_and_mixtures_are_the_same(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", [{**row, "id": i, "cases": "x"} for i, row in enumerate(ROWS)])
    held, lazy = both(path, monkeypatch, columns={"schema": "cases"})
    assert list(lazy) == list(held) and lazy[0].data["schema"] == "x"
    other = load_questions(write(tmp_path / "b.jsonl", [{**row, "id": i} for i, row in enumerate(ROWS[::-1])]))
    mixed = [join_questions(distinct_ids([one, other]), (0.2, 0.8)) for one in (held, lazy)]
    assert mixed[1].stored and list(mixed[1]) == list(mixed[0])
    assert len({question.id for question in mixed[1]}) == 400


@pytest.mark.parametrize("options", [{}, {"packed": True}, {"pairs": True}])
def test_batches_are_the_same(tmp_path, monkeypatch, options):
    held, lazy = both(write(tmp_path / "q.jsonl", PAIRS if "pairs" in options else ROWS), monkeypatch)
    settings = {"batch_size": 8, "max_length": 64, "seed": 3, **options}
    monkeypatch.setattr("didact.sources.completions._PACKED", 7)
    monkeypatch.setattr(stored, "MEBIBYTE", 50)
    sources = [CompletionSource(questions, ByteTokens(), **settings) for questions in (held, lazy)]
    for _, one, other in zip(range(30), *sources, strict=False):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(other[name], one[name], rtol=0, atol=0)


def test_bad_rows_are_named(tmp_path, small):
    path = write(tmp_path / "q.jsonl", [*ROWS, {"instruction": 3, "output": "x"}])
    with pytest.raises(DataError, match=r"q.jsonl, line 401 has the prompt 3"):
        load_questions(path)
    path.write_bytes(b'{"prompt": "a"}\n{"prompt": \n')
    with pytest.raises(DataError, match=r"q.jsonl, line 2 is not JSON"):
        load_questions(path)
    questions = load_questions(write(path, ROWS))
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DataError, match="changed while it was in use"):
        questions[0]


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, small, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("q.jsonl"), ROWS)
    settings = {"data": "q.jsonl", "student": "decoder:1x16:64", "batch_size": 8, "progress": False, "steps": 8,
                "sampling": "max_new_tokens=2", "checkpoint_every": 2}  # fmt: skip
    whole = didact.run("sft", **settings, directory="runs/whole")

    class StopError(Exception):
        pass

    made = CompletionSource.__iter__

    def stopping(source):
        for count, batch in enumerate(made(source)):
            if count == 5:
                raise StopError
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(CompletionSource, "__iter__", stopping)
        with pytest.raises(StopError):
            didact.run("sft", **settings, directory="runs/cut")
    again = didact.resume("runs/cut", progress=False)
    for one, other in zip(whole.student.parameters(), again.student.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)


WORK = """
import re, sys, threading, time
import didact
from didact.sources import stored
stored.HELD, share = int(sys.argv[2]), 4 / int(sys.argv[3])
highest = 0
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])
def watch():
    global highest
    while True:
        highest = max(highest, anonymous())
        time.sleep(0.002)
didact.run("sft", data="small.jsonl", student="decoder:1x16:2048", steps=1, batch_size=2, progress=False,
           sampling="max_new_tokens=1", validation=0.01, test=0.01)
before = anonymous()
threading.Thread(target=watch, daemon=True).start()
didact.run("sft", data=sys.argv[1], student="decoder:1x16:2048", steps=1, batch_size=2, progress=False,
           sampling="max_new_tokens=1", validation=share, test=share)
print((highest - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone says how much memory is anonymous")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Memory of a run on files of 2, 4 and 8 MB does not rise, where that of held rows does by several times."""
    write(tmp_path / "small.jsonl", ROWS)
    peaks = {}
    for megabytes in (2, 4, 8):
        rows = [{"prompt": f"{i} ", "completion": f"{i} " + "y" * 1500} for i in range(666 * megabytes)]
        write(tmp_path / f"{megabytes}.jsonl", rows)
        for held in (0, 1 << 40) if megabytes == 8 else (0,):
            command = [sys.executable, "-c", WORK, f"{megabytes}.jsonl", str(held), str(len(rows))]
            found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
            assert not found.returncode, found.stderr
            peaks[megabytes, held] = float(found.stdout.split()[-1])
    lazily = [peaks[size, 0] for size in (2, 4, 8)]
    assert all(later - earlier < 6 for earlier, later in pairwise(lazily)), peaks
    assert peaks[8, 1 << 40] > lazily[-1] + 16, peaks
