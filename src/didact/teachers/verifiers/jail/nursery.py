"""The process from which supervisors are forked: it has imported what they need, and knows no solution and no test.

Requests come through a socket: each message names a working directory, and carries the two ends of pipes that the new
supervisor reads from and writes to.
"""

import gc
import os
import signal
import socket

from . import supervise, wire


def main() -> None:
    """Start supervisors on requests from descriptor 0, until the other end is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are reaped automatically
    door = socket.socket(fileno=0)
    gc.freeze()
    while True:
        directory, given, _, _ = socket.recv_fds(door, 4096, 2)
        if not directory:
            return
        try:
            if os.fork() == 0:
                _supervise(directory, given)
        except OSError:
            pass  # the pipes are closed, which tells the client
        for descriptor in given:
            os.close(descriptor)


def _supervise(directory: bytes, given: list[int]) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for standard, descriptor in enumerate(given):
            os.dup2(descriptor, standard)
        os.closerange(3, 64)
        os.chdir(directory)
        wire.send(1, {"group": os.getpid()})
        supervise.main()
    finally:
        os._exit(0)
