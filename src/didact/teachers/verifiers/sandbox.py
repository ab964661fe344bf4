"""A sandbox that runs a model's Python against tests.

Each solution gets three processes of its own: one that runs the solution (and never sees the tests), one that runs the
tests (and reaches the solution's functions and objects only through a pipe), and one that starts and ends both. They
are forked from a process that has imported what they need, and has never seen a solution or a test. A solution can
print, exit, patch, override, inspect or take over its process: the verdict is reached elsewhere.

A test that passes there has passed. One that fails there may have failed because of the pipe, if more than plain data
went through it. It is then run again, in one process with the solution, as benchmarks do. If it fails there too, it has
failed; if it passes there, the outcome is unknown, and not graded.

Guarantees, if `strength()` is strong (Linux with Landlock and seccomp, as root or not, in a container or not): no
network; no other processes, programs or signals; no file is read but the standard library, NumPy and the machine's
shared libraries, and none is written but on a private disk of 16 MB in memory, or, if namespaces are not permitted,
none at all; an empty environment; limits of time, processor time, memory, output and open files. Not guaranteed: names
and sizes of files can be seen (not their contents); durations can be measured; a flaw in the kernel is a way out; and a
solution that knows what the tests check can return what they expect, as any solution can.
"""

import ast
import functools
import importlib.util
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from didact.documents import Document
from didact.errors import TeacherError, check_range
from didact.teachers.verifiers.base import TimeUp
from didact.teachers.verifiers.jail import packages, walls, wire

GRACE = 10.0
"""Seconds for starting and ending, besides the time limit of a solution."""


@dataclass(frozen=True, slots=True)
class Strength:
    """The protections that the sandbox has on this machine."""

    layers: tuple[str, ...]
    """The available ones of limits, landlock, seccomp, network, disk, hook."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The layers that a strong sandbox has and this one lacks."""
        return tuple(layer for layer in walls.NEEDED if layer not in self.layers)

    @property
    def strong(self) -> bool:
        """Whether the kernel keeps solutions from files, network and other processes."""
        return not self.missing

    def __str__(self) -> str:
        """For people, as a sentence."""
        if self.strong:
            extra = ", an empty network" if "network" in self.layers else ""
            disk = ", a private disk" if "disk" in self.layers else "; solutions can't write files here"
            return f"The sandbox is strong: resource limits, Landlock, seccomp{extra}{disk}."
        return (
            f"The sandbox is weak here: {' and '.join(self.missing)} missing. Only Python's own hooks and limits hold "
            "back what a model writes; Linux 5.13 or later with Landlock and seccomp has the walls."
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of running a solution."""

    tests: Mapping[str, bool] = field(default_factory=dict)
    """Whether each test passed, by name; empty if they did not run."""
    reason: str = ""
    """Why the first one failed."""
    graded: bool = True
    """False if the tests or the sandbox failed, rather than the solution, or if the outcome is unknown."""

    @property
    def passed(self) -> int:
        """The number of tests that passed."""
        return sum(self.tests.values())

    @property
    def total(self) -> int:
        """The number of tests, 0 if they did not run."""
        return len(self.tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The tests of one question."""

    tests: tuple[Any, ...]
    """Python sources; or, for a program, mappings with the `input` it reads and the `output` it must write."""
    setup: str = ""
    """Python that runs before the tests. The solution has its imports and classes, and not its functions."""
    entry_point: str | None = None
    """The name of the function that `check(candidate)` is called with."""
    prompt: str = ""
    """Python that the solution may continue, such as a prompt of HumanEval; it runs before the tests too."""

    @property
    def program(self) -> bool:
        """Whether the solution is run as a program rather than called."""
        return bool(self.tests) and isinstance(self.tests[0], Mapping)


class Sandbox:
    """Runs solutions against tests.

    Args:
        seconds: the time limit of a solution for all its tests.
        megabytes: its memory limit.
        weak: allow an incomplete sandbox.
        workers: the number of solutions that run at once; by default one per processor.

    Raises:
        ConfigError: a limit that cannot work.
    """

    def __init__(
        self, *, seconds: float = 5.0, megabytes: int = 512, weak: bool = False, workers: int | None = None
    ) -> None:
        check_range("seconds", seconds, above=0, at_most=3600)
        check_range("megabytes", megabytes, at_least=64)
        self.seconds = seconds
        self.megabytes = megabytes
        self.weak = weak
        self.workers = workers or os.cpu_count() or 1

    def check(self) -> None:
        """Raise `TeacherError` if the sandbox is incomplete and that is not allowed."""
        found = strength()
        if not found.strong and not self.weak:
            raise TeacherError(f"{found} Allow it with python:weak, if you trust what the model writes.")

    def run(self, source: str, tests: Suite) -> Outcome:
        """Run one solution.

        Args:
            source: Python, as the model wrote it.
            tests: its tests.

        Raises:
            TeacherError: the sandbox is incomplete and that is not allowed.
        """
        self.check()
        return self._run(source, tests)

    def map(self, sources: Sequence[str], tests: Sequence[Suite]) -> list[Outcome]:
        """Run many solutions, each with its tests, in parallel; the outcomes are in the same order.

        Raises:
            TeacherError: as `run`.
        """
        self.check()
        with ThreadPoolExecutor(min(self.workers, max(len(sources), 1))) as pool:
            return list(pool.map(self._run, sources, tests))

    def _run(self, source: str, tests: Suite) -> Outcome:
        reply = _supervised(source, tests, seconds=self.seconds, memory=self.megabytes << 20, weak=self.weak)
        if "broken" in reply:
            return Outcome(reason=reply["broken"], graded=False)
        results = reply.get("results", ())
        reason = reply.get("failed") or next((words for _, passed, words in results if not passed), "")
        return Outcome({name: passed for name, passed, _ in results}, reason, graded="unsure" not in reply)


@functools.cache
def strength() -> Strength:
    """The protections that the sandbox has on this machine, found by trying them once."""
    try:
        reply = _supervised("", Suite(tests=("",)), seconds=20.0, memory=512 << 20, weak=True)
    except TeacherError:
        return Strength(())
    return Strength((*reply.get("layers", ()), *reply.get("apart", ())))


def command(module: str) -> list[str]:
    """The command of a process of the jail: this interpreter, without site-packages, environment and user files."""
    start = f"import sys; sys.path.insert(0, sys.argv[1]); from jail.{module} import main; sys.path.pop(0); main()"
    # -I would ignore PYTHONHASHSEED as well; -s and -P with an environment of our own isolate as much.
    return [sys.executable, "-S", "-s", "-P", "-X", "utf8", "-c", start, str(Path(__file__).parent)]


ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""The environment of a process of the jail: nothing but a fixed order of sets."""


def _supervised(source: str, tests: Suite, *, seconds: float, memory: int, weak: bool) -> Document:
    """The reply of the supervisor of one solution; a mapping with `broken` if there is none."""
    if sys.platform == "win32":
        raise TeacherError("Generated Python is run on Linux (or, weakly, on macOS); this is Windows. Use WSL.")
    limits = {"seconds": seconds, "memory": memory, "weak": weak, "packages": _packages()}
    known = {"program": tests.program, "prompt": tests.prompt, "entry_point": tests.entry_point}
    known["prelude"] = _prelude(tests.setup)
    asked = {"tests": [_plain(test) for test in tests.tests], "setup": tests.setup}
    try:
        messages = wire.frame({"source": source, **limits, **known}) + wire.frame(asked)
    except (wire.WireError, UnicodeError) as error:
        return {"failed": f"the solution can't be sent: {error}"}
    with tempfile.TemporaryDirectory(prefix="didact-", ignore_cleanup_errors=True) as directory:
        return nursery().supervise(directory, messages, 2 * seconds + GRACE)


def _prelude(setup: str) -> str:
    """The imports and classes of a setup. Its functions are not for the solution, as they may say what is right."""
    try:
        body = ast.parse(setup).body
    except (SyntaxError, ValueError):
        return ""
    return "\n".join(ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef))


@functools.cache
def _packages() -> dict[str, str]:
    """The files of the importable packages that are installed."""
    found = {name: importlib.util.find_spec(name) for name in packages.SHARED + packages.RUNNER}
    return {name: str(Path(spec.origin).absolute()) for name, spec in found.items() if spec and spec.origin}


class Nursery:
    """A process that has imported what a supervisor needs; forking one takes a few milliseconds."""

    def __init__(self) -> None:
        # Atomic messages, so that threads and forked processes can use one socket.
        kind = socket.SOCK_SEQPACKET if sys.platform.startswith("linux") else socket.SOCK_DGRAM
        self._door, far = socket.socketpair(socket.AF_UNIX, kind)
        with far:
            self._process = subprocess.Popen(
                command("nursery"),
                stdin=far.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        weakref.finalize(self, _close, self._door, self._process)

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process.poll() is None

    def supervise(self, directory: str, messages: bytes, seconds: float) -> Document:
        """The reply of a new supervisor to these messages; a mapping with `broken` if there is none."""
        deadline = time.monotonic() + seconds
        group, pipes = 0, [*os.pipe(), *os.pipe()]
        try:
            socket.send_fds(self._door, [directory.encode()], [pipes[0], pipes[3]])
            for theirs in (3, 0):
                os.close(pipes.pop(theirs))
            put, come = pipes
            group = receive_within(come, deadline)["group"]
            write_within(put, messages, deadline)
            return receive_within(come, deadline)
        except TimeUp:
            if group:  # it is alive, as it has not closed its pipe
                os.killpg(group, 9)
            return {"broken": "the sandbox did not end in time"}
        except (wire.WireError, OSError):
            return {"broken": "the sandbox ended without a verdict"}
        finally:
            for descriptor in pipes:
                os.close(descriptor)


_LOCK = threading.Lock()
_nurseries: list[Nursery] = []


def nursery() -> Nursery:
    """The nursery of this process, started when it is first needed, and restarted when it has died."""
    with _LOCK:
        if not _nurseries or not _nurseries[0].alive:
            _nurseries[:] = [Nursery()]
        return _nurseries[0]


def _close(door: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    door.close()
    process.kill()
    process.wait()


def receive_within(descriptor: int, deadline: float) -> Any:
    """The next message; raises `TimeUp` if none comes before the deadline, `WireError` if none will come."""
    if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
        raise TimeUp("took too long")
    return wire.receive(descriptor)


def write_within(descriptor: int, message: bytes, deadline: float) -> None:
    """Write a whole message; raises `TimeUp` if the other side doesn't read it before the deadline."""
    data = memoryview(message)
    while data:
        if not select.select([], [descriptor], [], max(deadline - time.monotonic(), 0))[1]:
            raise TimeUp("took too long")
        # A pipe that is ready accepts this much without blocking.
        data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]


def _plain(test: object) -> Any:
    return {key: str(test[key]) for key in ("input", "output")} if isinstance(test, Mapping) else str(test)
