"""The client of the process that compares texts: started when first needed, replaced when it hangs."""

import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

from didact.documents import Document
from didact.errors import TeacherError
from didact.teachers.verifiers.base import Abstention, TimeUp
from didact.teachers.verifiers.jail import wire
from didact.teachers.verifiers.sandbox import ENVIRONMENT, command, receive_within, write_within

START = 120.0
"""Seconds that a process may take for its imports."""


class Scorer:
    """Scores texts in a sandboxed process; one at a time, from any thread.

    Args:
        kind: a function of `jail.scoring`.
        seconds: the time limit of one text.
        warm: a request whose result is ignored, which makes the process import everything.
        megabytes: the memory limit of the process.
    """

    def __init__(self, kind: str, *, seconds: float, warm: Document, megabytes: int = 4096) -> None:
        self.seconds = seconds
        self._setup = {"kind": kind, "warm": [warm], "memory": megabytes << 20}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, **request: object) -> float:
        """The score of the text of this request.

        Raises:
            TimeUp: it took too long; the process was ended.
            Abstention: the process raised, or died.
            TeacherError: the process can't be started.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            reply = self._exchange(self._process, request, self.seconds)
        if "raised" in reply:
            raise Abstention(f"raised {reply['raised']}", reply["message"])
        return reply["score"]

    def _start(self) -> "subprocess.Popen[bytes]":
        paths = [str(Path(path).absolute()) for path in sys.path if path]
        process = subprocess.Popen(
            command("scoring"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            bufsize=0,
            start_new_session=True,
        )
        weakref.finalize(self, _end, process)
        try:
            self._exchange(process, {**self._setup, "paths": paths}, START)
        except (TimeUp, Abstention) as error:
            kind = self._setup["kind"]
            raise TeacherError(f"The process of the verifier {kind} did not start: it {error}.") from None
        return process

    def _exchange(self, process: "subprocess.Popen[bytes]", request: Document, seconds: float) -> Document:
        """Send a request and wait for the reply."""
        assert process.stdin is not None and process.stdout is not None
        deadline = time.monotonic() + seconds
        try:
            message = wire.frame(request)
        except (wire.WireError, UnicodeError, TypeError, ValueError) as error:
            raise Abstention("could not send the answer", str(error)) from None
        try:
            write_within(process.stdin.fileno(), message, deadline)
            return receive_within(process.stdout.fileno(), deadline)
        except (OSError, wire.WireError):
            _end(process)
            raise Abstention("lost its process") from None
        except BaseException:
            _end(process)  # a late reply would be mistaken for the next one's
            raise


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
