"""The supervisor starts the sandboxed processes of one solution, and ends them.

It runs neither the solution nor the tests. It reads first the solution, then the tests: the process that runs the
solution is forked before the tests are read, and so never has them in its memory.
"""

import os
import select
import time
from collections.abc import Callable, Sequence

from . import grader, packages, solution, together, walls, wire


def main() -> None:
    """Read a solution and tests from descriptor 0, and write the outcome to descriptor 1."""
    answer = wire.receive(0)
    walls.adopt_orphans()
    apart = walls.leave()
    answer["disk"] = _disk() if "disk" in apart else ""
    requests, replies = os.pipe(), os.pipe()
    ends = [_start([requests[0], replies[1]], lambda: _solve(requests[0], replies[1], answer))]
    job = {**wire.receive(0), **{name: answer[name] for name in ("program", "prompt", "entry_point")}}
    verdicts = os.pipe()
    given = [requests[1], replies[0], verdicts[1]]
    ends.append(_start(given, lambda: _grade(requests[1], replies[0], verdicts[1], answer, job)))
    for descriptor in (*requests, *replies, verdicts[1]):
        os.close(descriptor)
    verdict = _verdict(verdicts[0], answer["seconds"])
    _end(ends)
    if verdict.pop("strange", False) and not _passed(verdict):
        verdict = _compared(verdict, _again(answer, job))
    wire.send(1, {**verdict, "apart": apart})


def _disk() -> str:
    """Create the directories of the solution and of the tests on the private disk."""
    place = os.getcwd()  # noqa: PTH109 - pathlib is slow to import
    for name in ("answer", "tests"):
        os.mkdir(f"{place}/{name}", 0o700)  # noqa: PTH102
    return place


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


def _confine(answer: wire.Message, *, tests: bool, processes: bool = False) -> list[str]:
    """Confine this process. Tests have more packages, and a directory of their own."""
    known = packages.SHARED + packages.RUNNER * tests
    imported = packages.allow({name: place for name, place in answer["packages"].items() if name in known})
    writable = [f"{answer['disk']}/{place}" for place in ("answer", "tests")[: 1 + tests]] if answer["disk"] else []
    if writable:
        os.chdir(writable[0])
    return walls.confine(
        readable=[*walls.readable_by_python(), *imported],
        writable=writable,
        seconds=answer["seconds"],
        memory=answer["memory"],
        processes=processes,
    )


def _solve(requests: int, replies: int, answer: wire.Message) -> None:
    layers = _confine(answer, tests=False, processes=answer["program"])
    wire.send(replies, {"layers": layers})
    if not answer["weak"] and any(layer not in layers for layer in walls.NEEDED):
        return
    if answer["program"]:
        solution.serve_program(requests, replies, {**answer, "layers": layers, "writable": [os.getcwd()]})  # noqa: PTH109
    else:
        solution.serve(requests, replies, answer)


def _grade(requests: int, replies: int, verdicts: int, answer: wire.Message, job: wire.Message) -> None:
    _confine(answer, tests=True)
    wire.send(verdicts, grader.serve(requests, replies, verdicts, job))


def _again(answer: wire.Message, job: wire.Message) -> wire.Message:
    """The results of the tests in one process with the solution."""
    verdicts = os.pipe()
    child = _start([verdicts[1]], lambda: _join(verdicts[1], answer, job))
    os.close(verdicts[1])
    verdict = _verdict(verdicts[0], answer["seconds"])
    _end([child])
    return verdict


def _join(verdicts: int, answer: wire.Message, job: wire.Message) -> None:
    layers = _confine(answer, tests=True)
    if answer["weak"] or all(layer in layers for layer in walls.NEEDED):
        wire.send(verdicts, together.grade(answer, job))


def _verdict(verdicts: int, seconds: float) -> wire.Message:
    """The verdict of the process that runs the tests, or why there is none."""
    deadline, strange = time.monotonic() + seconds, False
    while (left := deadline - time.monotonic()) > 0:
        if select.select([verdicts], [], [], left)[0]:
            try:
                verdict = wire.receive(verdicts)
            except wire.WireError:
                return {"broken": "the tests ended without a verdict"}
            if "note" not in verdict:
                return verdict
            strange = True
    return {"failed": "the solution took too long", "strange": strange}


def _passed(verdict: wire.Message) -> bool:
    return "broken" in verdict or (bool(verdict.get("results")) and all(passed for _, passed, _ in verdict["results"]))


def _compared(apart: wire.Message, together: wire.Message) -> wire.Message:
    """Combine two runs: a test has failed if it failed in both, and is unsure if it passed in the second only."""
    passed = {name for name, passed, _ in together.get("results", ()) if passed}
    failed = [name for name, passed, _ in apart.get("results", ()) if not passed]
    if "failed" in apart and passed and len(passed) == len(together["results"]):
        return {"unsure": apart["failed"]}
    unsure = [name for name in failed if name in passed]
    reason = next((reason for name, _, reason in apart.get("results", ()) if name in unsure), "")
    return {**apart, "unsure": reason} if unsure else apart


def _end(children: list[int]) -> None:
    """Kill these processes and their descendants, and wait for them."""
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
