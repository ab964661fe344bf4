"""Starts the two processes of one solution behind their walls, and ends them, whatever they did.

It runs neither the solution nor the tests. It reads first the solution, then the tests: the process that runs the
solution is forked before the tests are read, and so never has them in its memory.
"""

import os
import select
import time
from collections.abc import Callable, Sequence

from . import grader, solution, walls, wire

ENTRIES, BYTES = 256, 16 << 20
"""The limit of the working directory's size, in bytes."""


def main() -> None:
    """Read a solution and tests from descriptor 0, and write the outcome to descriptor 1."""
    answer = wire.receive(0)
    walls.adopt_orphans()
    network = walls.leave_network()
    requests, replies, verdicts = os.pipe(), os.pipe(), os.pipe()
    children = [_start([requests[0], replies[1]], lambda: _solve(requests[0], replies[1], answer))]
    job = {**wire.receive(0), "program": answer["program"]}
    given = [requests[1], replies[0], verdicts[1]]
    children.append(_start(given, lambda: _grade(requests[1], replies[0], verdicts[1], answer, job)))
    for descriptor in (*requests, *replies, verdicts[1]):
        os.close(descriptor)
    verdict = _wait(verdicts[0], answer["seconds"])
    _end(children)
    wire.send(1, {**verdict, "network": network})


def _start(keep: Sequence[int], work: Callable[[], None]) -> int:
    """Fork a process that has these descriptors and no others."""
    child = os.fork()
    if child:
        return child
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        for descriptor in set(range(3, 64)) - set(keep):
            try:
                os.close(descriptor)
            except OSError:
                continue
        work()
    finally:
        os._exit(1)


def _solve(requests: int, replies: int, answer: wire.Message) -> None:
    layers = walls.confine(
        readable=walls.readable_by_python(),
        writable=[os.getcwd()],  # noqa: PTH109 - pathlib is slow to import
        seconds=answer["seconds"],
        memory=answer["memory"],
        processes=answer["program"],
    )
    wire.send(replies, {"layers": layers})
    if not answer["weak"] and any(layer not in layers for layer in walls.NEEDED):
        return
    if answer["program"]:
        solution.serve_program(requests, replies, answer["source"], {**answer, "layers": layers})
    else:
        solution.serve(requests, replies, answer["source"])


def _grade(requests: int, replies: int, verdicts: int, answer: wire.Message, job: wire.Message) -> None:
    walls.confine(readable=walls.readable_by_python(), writable=[], seconds=answer["seconds"], memory=answer["memory"])
    other = grader.Solution(requests, replies)
    try:
        verdict = grader.grade(other, job)
    except grader.BrokenTestsError as error:
        verdict = {"broken": str(error)}
    wire.send(verdicts, {**verdict, "layers": other.layers})


def _wait(verdicts: int, seconds: float) -> wire.Message:
    """The grader's verdict, or why there is none."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([verdicts], [], [], min(left, 0.05))[0]:
            try:
                return wire.receive(verdicts)
            except wire.WireError:
                return {"broken": "the tests ended without a verdict"}
        if _overfull("."):
            return {"failed": "the answer filled its working directory"}
    return {"failed": "the answer took too long"}


def _overfull(directory: str) -> bool:
    entries, size, waiting = 0, 0, [directory]
    while waiting:
        try:
            for entry in os.scandir(waiting.pop()):
                entries += 1
                size += entry.stat(follow_symlinks=False).st_size
                if entries > ENTRIES or size > BYTES:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
        except OSError:
            continue
    return False


def _end(children: list[int]) -> None:
    """Kill and reap the two processes and their descendants."""
    while children:
        for child in children:
            try:
                os.kill(child, 9)
            except ProcessLookupError:
                continue
        for child in children:
            try:
                os.waitpid(child, 0)
            except ChildProcessError:
                continue
        children = _orphans()


def _orphans() -> list[int]:
    # Descendants whose parent is gone have become children of this process (see walls.adopt_orphans).
    try:
        listed = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY)
    except OSError:
        return []
    try:
        return [int(word) for word in os.read(listed, 1 << 16).split()]
    finally:
        os.close(listed)
