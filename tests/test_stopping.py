"""Ctrl-C, a request to terminate and a closed terminal: one way to stop, and nothing that was learned is lost."""

import contextlib
import errno
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from didact import stopping
from didact.loop.checkpoint import list_checkpoints
from test_walk import work  # noqa: F401
from together import start_together

RUN = ["run", "supervised", "--data", "table.csv", "--student", "mlp:4", "--out", "run"]


def ask(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_each_signal_sets_the_event_and_is_given_back(number):
    before = signal.getsignal(number)
    with stopping.stop_requested() as stop:
        assert not stop.is_set()
        ask(number)
        assert stop.is_set()
    assert signal.getsignal(number) is before


def test_only_another_ctrl_c_is_not_waited_for(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with stopping.stop_requested() as stop:
        # A terminal hangs up twice, and torchrun passes Ctrl-C on to whom the terminal has told already.
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            ask(number)
        assert stop.is_set()
        clock[0] += 2 * stopping.IMPATIENCE
        ask(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            ask(signal.SIGINT)


def test_outside_of_a_loop_they_raise_once_and_another_ctrl_c_again(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for first in stopping.SIGNALS:
        with stopping.command():
            with pytest.raises(KeyboardInterrupt):
                ask(first)
            ask(signal.SIGHUP)
            ask(signal.SIGTERM)
            # As torchrun passes it on.
            ask(signal.SIGINT)
            clock[0] += 2 * stopping.IMPATIENCE
            with pytest.raises(KeyboardInterrupt):
                ask(signal.SIGINT)


def test_what_is_written_after_a_loop_was_stopped_is_not_disturbed():
    with stopping.command():
        with stopping.stop_requested() as stop:
            ask(signal.SIGHUP)
        assert stop.is_set()
        ask(signal.SIGHUP)


DRIVER = """
import os, sys, time
import torch
from didact.cli import main
from didact.experiment import running
from didact.loop.place import find_place

def prepare(*_args, **_settings):
    place = find_place(torch.device("cpu"))
    place.gather_objects(None)
    print("ready", file=sys.__stdout__, flush=True)
    # As one process loads its data, which takes long, and another waits for it.
    time.sleep(60) if place.first == {first} else place.gather_objects(None)

running.prepare = prepare
sys.exit(main(["run", "supervised", "--data", "digits", "--out", "run"]))
"""


@pytest.mark.parametrize(
    ("number", "first"),
    [
        (signal.SIGINT, True),
        pytest.param(signal.SIGHUP, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.slow),
    ],
)
def test_several_processes_stop_before_their_first_step_with_one_sentence(tmp_path, monkeypatch, first, number):
    """Whoever waits finds the other gone, mostly before its own signal is noticed; torchrun passes each signal on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "driver.py").write_text(DRIVER.format(first=first))
    with start_together(["driver.py"], 2) as processes:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for passed_on, pause in ((number, 0.5), (number, 0.0), (signal.SIGTERM, 0.0)):
            for process in sorted(processes, key=lambda one: (one is processes[0]) != first):
                process.send_signal(passed_on)
                time.sleep(pause)
        said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [130, 130], said
    assert [text.strip() for text in said] == ["Interrupted.", ""]


@pytest.mark.slow
def test_a_process_that_was_left_alone_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "driver.py").write_text(DRIVER.format(first=False))
    with start_together(["driver.py"], 2) as processes:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        processes[1].kill()
        said = processes[0].communicate(timeout=60)[1]
    assert processes[0].returncode == 2
    assert said.startswith("Another of the processes that learn together has ended")
    assert len(said.splitlines()) == 1


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.command(), stopping.stop_requested() as stop:
            ask(signal.SIGHUP)
        assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


class Failing(io.StringIO):
    def __init__(self, number, *, terminal, file):
        super().__init__()
        self.number, self.terminal, self.file = number, terminal, file

    def isatty(self):
        return self.terminal

    def write(self, text):
        raise OSError(self.number, "no")

    def fileno(self):
        return self.file.fileno()


def test_a_full_disk_is_no_closed_terminal(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert stopping.quiet_after_hangup(Failing(errno.EIO, terminal=True, file=file)).write("abc") == 3
        assert stopping.quiet_after_hangup(Failing(errno.EPIPE, terminal=False, file=file)).write("abc") == 3
        for number, terminal in ((errno.EIO, False), (errno.ENOSPC, True)):
            with pytest.raises(OSError, match="no"):
                stopping.quiet_after_hangup(Failing(number, terminal=terminal, file=file)).write("abc")


# ---- a real terminal, that is closed


@pytest.fixture
def begun():
    """Runs the command in a terminal of its own: the process, and the terminal's other end."""
    processes, held = [], []

    def begin(words, *, before=""):
        ours, theirs = pty.openpty()
        os.set_blocking(ours, False)
        # The leader of a session takes the first terminal that it opens for its own.
        script = f'exec <>{os.ttyname(theirs)} >&0 2>&0; {before} exec "$0" -m didact "$@"'
        processes.append(subprocess.Popen(["sh", "-c", script, sys.executable, *words], start_new_session=True))
        held.append(theirs)
        return processes[-1], ours

    yield begin
    for descriptor in held:
        os.close(descriptor)
    for process in processes:
        process.kill()
        process.wait()


def wait_for(there, process, terminal):
    """Read what is shown until something is there."""
    limit, shown = time.monotonic() + 60, b""
    while not there():
        with contextlib.suppress(BlockingIOError):
            shown += os.read(terminal, 65536)
        assert process.poll() is None, shown.decode()
        assert time.monotonic() < limit, shown.decode()
        time.sleep(0.02)


def records(folder="."):
    return [line for path in Path("run").glob(f"{folder}/metrics.jsonl") for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_closed_terminal_leaves_a_checkpoint_to_go_on_from(work, begun):  # noqa: F811
    process, terminal = begun([*RUN, "--seconds", "300"])
    folder = Path("run/checkpoints")
    wait_for(lambda: len(records()) > 3, process, terminal)
    os.close(terminal)
    assert process.wait(60) == 130
    assert json.loads(Path("run/result.json").read_text())["status"] == "interrupted"
    steps = int(list_checkpoints(folder)[0].name.split("-")[1])
    assert steps == json.loads(Path("run/result.json").read_text())["cost"]["steps"] > 100


@pytest.mark.slow
def test_a_training_before_the_run_leaves_a_checkpoint_too(work, begun):  # noqa: F811
    process, terminal = begun([*RUN[:4], "--student", "warm:1000000:mlp:4", "--out", "run", "--steps", "5"])
    wait_for(lambda: len(records("teachers/*-training")) > 3, process, terminal)
    os.close(terminal)
    assert process.wait(60) == 130
    (training,) = Path("run/teachers").iterdir()
    assert int(list_checkpoints(training / "checkpoints")[0].name.split("-")[1]) > 100


@pytest.mark.slow
def test_who_is_to_survive_the_terminal_does(work, begun):  # noqa: F811
    """As under `nohup` or after `disown`: there is no signal, only a terminal that takes nothing any more."""
    process, terminal = begun([*RUN, "--steps", "1500"], before="trap '' HUP;")
    wait_for(lambda: len(records()) > 3, process, terminal)
    os.close(terminal)
    assert process.wait(60) == 0
    assert json.loads(Path("run/result.json").read_text())["status"] == "done"


@pytest.mark.slow
def test_a_reader_that_has_gone_is_not_waited_for(work):  # noqa: F811
    """As in `didact list | head -1`."""
    words = [sys.executable, "-m", "didact", "list"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
