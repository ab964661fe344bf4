"""Signals that stop a run: Ctrl-C, a request to terminate and a closed terminal, all handled in the same way."""

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
"""Seconds after the first signal within which another Ctrl-C is a copy of it, which torchrun forwards."""
PATIENCE = 3.0
"""Seconds to wait for a signal after a peer process has ended, as the signal that ended it may arrive later here."""

_received: list[int] = []
"""The stop signals that this process received since its `command` started."""


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """A context with an event that the first of `SIGNALS` sets, for a loop that ends itself.

    A second Ctrl-C raises `KeyboardInterrupt` at once. A hangup comes from both the shell and the kernel, so that a
    second one has no effect.
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

    After the first signal only a second Ctrl-C raises again, so that final writes are completed.
    """
    _received.clear()
    since = [0.0]

    def interrupt(number: int, _frame: object) -> None:
        _received.append(number)
        if len(_received) == 1:
            since[0] = time.monotonic()
            raise KeyboardInterrupt
        if number == signal.SIGINT and time.monotonic() - since[0] > IMPATIENCE:
            raise KeyboardInterrupt

    out, err = quiet_after_hangup(sys.stdout), quiet_after_hangup(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _handled(interrupt, until_exit=True):
        try:
            yield
        finally:
            out.flush()
            err.flush()


def was_requested() -> bool:
    """Whether this process received one of `SIGNALS` since its `command` started; waits up to `PATIENCE` seconds.

    A signal to several processes reaches some of them earlier, and the others may first notice that a peer has ended.
    """
    until = time.monotonic() + PATIENCE
    with contextlib.suppress(KeyboardInterrupt):
        while not _received and time.monotonic() < until:
            time.sleep(0.05)
    return bool(_received)


@contextlib.contextmanager
def _handled(handler: Callable[[int, object], None], *, until_exit: bool = False) -> Iterator[None]:
    """Handle the signals that are not ignored; `nohup`, for instance, ignores a hangup.

    With `until_exit`, one of several processes ignores further signals once it was stopped: torchrun sends more of them
    while the interpreter shuts down.
    """
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
        ignore = until_exit and bool(_received) and "RANK" in os.environ
        for number, found in before.items():
            signal.signal(number, signal.SIG_IGN if ignore else found)


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
            # Buffered output would fail again when the interpreter ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


def quiet_after_hangup(stream: TextIO) -> TextIO:
    """A stream that discards output once its terminal or pipe is closed."""
    return cast("TextIO", _Lasting(stream))
