"""Processes that run together, as `torchrun` starts them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def start_together(words: Sequence[str], size: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start Python with these words in `size` processes of one group, and kill what is left of them at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen(
            [sys.executable, *words], env={**os.environ, **group, "RANK": str(r), "LOCAL_RANK": str(r)}, **pipes
        )
        for r in range(size)
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()


def run_together(words: Sequence[str], size: int, *, timeout: float = 100) -> list[str]:
    """Run Python with these words in `size` processes of one group; what each wrote to its standard output.

    Raises:
        AssertionError: one of them failed; the message is what it wrote to its standard error.
    """
    with start_together(words, size) as running:
        written = [process.communicate(timeout=timeout) for process in running]
    for process, (_, errors) in zip(running, written, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in written]
