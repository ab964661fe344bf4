"""Being stopped: by Ctrl-C, by a request to terminate or by a terminal that is closed, each time in the same way."""

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO, cast

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IMPATIENCE = 1.0
"""Seconds after the first signal from which another Ctrl-C is not a copy of it: torchrun passes each one on."""

_received: list[int] = []
"""The signals of this process that asked to stop, since its `command` began."""


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """An event that is set by the first of `SIGNALS`, for a loop that ends itself.

    A second Ctrl-C is not waited for: it raises `KeyboardInterrupt`. A hangup comes from the shell and from the kernel,
    so that a second one changes nothing.
    """
    event, since = threading.Event(), [0.0]

    def ask(number: int, _frame: object) -> None:
        _received.append(number)
        if not event.is_set():
            since[0] = time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - since[0] > IMPATIENCE:
            raise KeyboardInterrupt
        event.set()

    with _handled(ask):
        yield event


@contextlib.contextmanager
def command() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for each of `SIGNALS`, as for Ctrl-C, and quieten output after a hangup.

    After the first signal only Ctrl-C raises again, so that what is written on the way out gets written.
    """
    _received.clear()

    def interrupt(number: int, _frame: object) -> None:
        _received.append(number)
        if number == signal.SIGINT or len(_received) == 1:
            raise KeyboardInterrupt

    out, err = quiet_after_hangup(sys.stdout), quiet_after_hangup(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _handled(interrupt):
        try:
            yield
        finally:
            out.flush()
            err.flush()


@contextlib.contextmanager
def _handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handles the signals that are not ignored, as `nohup` has a hangup ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: found for number, found in before.items() if found not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)


class _Lasting:
    def __init__(self, stream: TextIO) -> None:
        self.stream, self.lost = stream, {errno.EPIPE, errno.EIO} if stream.isatty() else {errno.EPIPE}

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        self._attempt(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self.stream.flush)

    def _attempt(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError as error:
            if error.errno not in self.lost:
                raise
            # What is buffered would fail again when the interpreter ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


def quiet_after_hangup(stream: TextIO) -> TextIO:
    """A stream that goes on silently when nobody can read it any more: its terminal is closed, or its pipe."""
    return cast("TextIO", _Lasting(stream))
