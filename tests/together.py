"""Processes that run together, as `torchrun` starts them."""

import multiprocessing
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch


def fork_together(work: Callable[[], None], size: int, *, timeout: float = 100) -> None:
    """Call a function in `size` processes of one group, forks of this one, which need not import anything again."""

    def begin(rank: int) -> None:
        torch.set_num_threads(1)  # those of this process are not there
        os.environ |= {**group, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        work()

    group, context = _group(size), multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, of forks beside threads
        running = [context.Process(target=begin, args=(rank,)) for rank in range(size)]
        for process in running:
            process.start()
    for process in running:
        process.join(timeout)
        process.kill()
    assert [process.exitcode for process in running] == [0] * size


def _group(size: int) -> dict[str, str]:
    """What the processes of a group are told in their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}


@contextmanager
def start_together(words: Sequence[str], size: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start Python with these words in `size` processes of one group, and kill what is left of them at the end."""
    group = _group(size)
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
