"""The process that runs the tests. It knows them, and reaches the solution only through a pipe.

The solution's results are plain data that this process has built itself, or proxies, so nothing that the solution
overrides or patches takes part in a comparison with a value of the tests.
"""

import builtins
import importlib
import os
import sys
import types
from collections.abc import Iterator

from . import layouts, wire
from .acts import words_of
from .layouts import Names, Result
from .peer import Peer, SolutionError
from .standins import is_copied

_PURE = """__future__ abc bisect calendar cmath collections contextlib copy dataclasses datetime decimal doctest enum
    fractions functools heapq itertools json math numbers numpy operator pytest re solution statistics string textwrap
    typing unittest uuid"""
PURE = frozenset(_PURE.split())
"""Modules without shared state, through which tests can affect a solution only by calling it."""

_STATEFUL = """open input id mock patch Mock MagicMock assertLogs assertNoLogs assertWarns assertWarnsRegex assertIs
    warns deprecated_call monkeypatch mocker tmp_path tmpdir capsys capfd caplog recwarn redirect_stdout
    redirect_stderr"""
STATEFUL = frozenset(_STATEFUL.split())
"""Names that give access to shared state without an import."""


def grade(peer: Peer, job: wire.Message) -> wire.Message:
    """Run the tests against a solution behind a pipe.

    Args:
        peer: the process of the solution, before any request.
        job: the tests.

    Returns:
        The `results` of the tests, and whether the pipe may have caused failures (`strange`); or why the tests are
        `broken`.
    """
    try:
        results = list(_programs(peer, job["tests"]) if job["program"] else _tests(peer, job))
    except layouts.BrokenTestsError as error:
        return {"broken": str(error)}
    return {"results": results, "strange": peer.strange and not peer.forged}


def _programs(peer: Peer, cases: list[dict[str, str]]) -> Iterator[Result]:
    def lines(text: object) -> list[str]:
        return [line.rstrip() for line in str(text).rstrip().splitlines()]

    for place, case in enumerate(cases):
        try:
            output = peer.accepted(_asked(peer, {"input": case["input"]})).get("value")
            said = "" if lines(output) == lines(case["output"]) else "AssertionError: another output"
        except SolutionError as error:
            said = str(error)
        yield f"program {place}", not said, said


def _asked(peer: Peer, request: wire.Message) -> wire.Message:
    try:
        peer.send(request)
        return peer.receive()
    except (OSError, wire.WireError) as error:
        raise SolutionError(f"the solution is gone: {error}") from None


def _tests(peer: Peer, job: wire.Message) -> Iterator[Result]:
    module = layouts.new_module("__main__")
    sources = [layouts.Source(text, place) for place, text in enumerate(job["tests"])]
    setup = layouts.Source(job["setup"], -1)
    used = set[str]().union(*(source.names for source in (setup, *sources)))
    layouts.check_imports([setup, *sources])
    imported = {name.partition(".")[0] for source in (setup, *sources) for name in source.imported}
    if not imported <= PURE or used & STATEFUL or any(source.compares_identity for source in sources):
        peer.notice()
    peer.mentioned = frozenset(used)
    try:
        names = peer.unpack(peer.accepted(peer.receive()).get("value"))
    except (Exception, SolutionError) as error:
        words = f"{type(error).__name__}: {words_of(error)}"
        yield from ((source.name, False, words) for source in sources)
        return
    if job["prompt"]:
        layouts.prepare(layouts.Source(job["prompt"], -1), module.__dict__)
    if isinstance(names, dict):
        _introduce(module.__dict__, names, used, job["entry_point"])
        if any(is_copied(names[name]) for name in used & names.keys()):
            peer.notice()  # the solution may change it later
    if words := layouts.prepare(setup, module.__dict__):
        yield from ((source.name, False, words) for source in sources)
        return
    for source in sources:
        yield from layouts.run(source, module.__dict__, job["entry_point"])


def _introduce(namespace: Names, names: Names, used: set[str], entry_point: str | None) -> None:
    """Add the solution's names; names of builtins and modules only if the tests use no other name of the solution."""
    asked = {entry_point} if entry_point else set[str]()
    if not used & names.keys() - set(namespace) - set(dir(builtins)) - sys.stdlib_module_names:
        asked |= used & names.keys() - set(namespace)
    for name in (used & sys.stdlib_module_names) - asked:
        namespace[name] = importlib.import_module(name)
    kept = (set(namespace) | set(dir(builtins))) - asked
    # A solution that forges its message may offer __builtins__, or what is no name.
    own = [name for name in names if isinstance(name, str) and not name.startswith("__")]
    offered = {name: names[name] for name in own if name not in kept}
    namespace.update(offered)
    if entry_point in offered:
        namespace["candidate"] = offered[entry_point]
    module = types.ModuleType("solution")
    module.__dict__.update(offered)
    sys.modules["solution"] = module


def serve(requests: int, replies: int, verdicts: int, job: wire.Message) -> wire.Message:
    """Connect to the solution, and run `grade`. `strange` is reported as soon as it becomes True."""
    peer = Peer(replies, requests, wary=True)
    layers = peer.receive()["layers"]
    peer.noticed = lambda: wire.send(verdicts, {"note": "strange"})
    try:
        return {**grade(peer, job), "layers": layers}
    finally:
        os.close(requests)
