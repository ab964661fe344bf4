"""What is printed cannot control the terminal or fail in its encoding; only regular files are opened."""

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.text import Text

from didact import documents, sources, terminal
from didact.cli import main
from didact.errors import DataError

CONTROLS = "".join(map(chr, [*range(32), 127, *range(128, 160), 0xD800])).replace("\t", "").replace("\n", "")
ENVIRONMENT = {**os.environ, "COLUMNS": "80"}


def test_each_control_character_becomes_a_question_mark():
    assert terminal.plain(f"a{CONTROLS}b") == f"a{'?' * len(CONTROLS)}b"
    assert terminal.plain("tab\tline\nend\r\né ✓ 日本") == "tab\tline\nend\né ✓ 日本"


def test_a_console_writes_no_control_sequence_but_its_own(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    console = terminal.console()
    console.print(Text("red\x1b[2J", style="red"), "name\x1b]0;title\x07")
    assert "\x1b[2J" not in out.getvalue() and "\x07" not in out.getvalue()
    assert "red?[2J" in out.getvalue() and "name?]0;title" in out.getvalue()


def test_refusals_warnings_and_answers_are_plain(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "bad\x1b[31m.csv"
    Path(name).write_text("a\x1b[2J,b,label\n1,2,x\n")
    for words in (["run", "supervised", "--data", name], ["doctor", "--data", name]):
        main(words)
        caught = capsys.readouterr()
        assert "\x1b" not in caught.out + caught.err and "?[" in caught.out + caught.err
    with pytest.warns(UserWarning) as told:
        warnings.warn("a file named \x1b[2J", stacklevel=1)
    shown = warnings.formatwarning(told[0].message, UserWarning, "x.py", 1)
    assert shown == "x.py:1: UserWarning: a file named ?[2J\n"
    terminal.write("an answer\x1b[2J")
    assert capsys.readouterr().out == "an answer?[2J\n"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_doctor_prints_plain_marks_where_the_output_is_not_utf_8(encoding, tmp_path):
    words = [sys.executable, "-m", "didact", "doctor", "--data", "digits", "--student", "mlp:4"]
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, timeout=100, check=True)
    assert "+ pass" in done.stdout.decode(encoding) and "\u2713" not in done.stdout.decode(encoding)


FOUR = """
import sys, time
from pathlib import Path
from didact.experiment import records
while not Path("go").exists():
    time.sleep(0.001)
with records.new_directory("distill", "data/digits.csv") as path:
    (path / "config.json").touch()
    print(path)
"""


@pytest.mark.slow
def test_runs_that_begin_in_the_same_instant_have_different_names(tmp_path):
    words = [sys.executable, "-c", FOUR]
    begun = [
        subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    (tmp_path / "go").touch()
    found = [process.communicate(timeout=100) for process in begun]
    assert sorted(out.strip() for out, _ in found) == [f"runs/distill-digits-00{n}" for n in range(1, 5)], found


def test_a_refused_run_leaves_no_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "supervised", "--data", "digits", "--student", "mlp:0"]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(60)
def test_only_regular_files_are_opened(tmp_path):
    """A named pipe without a writer would be waited for without end."""
    for number, kind in enumerate(("cat", "dog")):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        Image.fromarray(np.full((5, 7), number, np.uint8)).save(tmp_path / "pets" / kind / "a.png")
    os.mkfifo(tmp_path / "pets" / "cat" / "x.png")
    with pytest.raises(DataError, match=r"1 of 3 images cannot be read: cat/x\.png"):
        sources.load(tmp_path / "pets")
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(DataError, match=r"table\.csv"):
        sources.load(tmp_path / "table.csv")
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match="it is not a regular file"):
        documents.read_json(tmp_path / "config.json")
    assert main(["resume", str(tmp_path)]) == 2
    os.mkfifo(tmp_path / "student.safetensors")
    assert main(["export", str(tmp_path / "student.safetensors")]) == 2


def test_suffixes_are_known_in_any_case(tmp_path):
    for name in ("a.CSV", "a.csv"):
        (tmp_path / name).write_text("a,label\n1,x\n2,y\n")
    upper, lower = (sources.load(tmp_path / name) for name in ("a.CSV", "a.csv"))
    assert (upper.classes, upper.size) == (lower.classes, lower.size) == (("x", "y"), 2)
    (tmp_path / "q.JSONL").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    assert sources.load_questions(tmp_path / "q.JSONL").items[0].answer == "2"
