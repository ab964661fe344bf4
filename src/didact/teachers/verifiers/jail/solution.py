"""The process that runs a solution. It knows the solution and its arguments, and nothing of the tests.

Code that takes it over gains only the power to return other values, which any solution has.
"""

import ast
import builtins
import io
import os
import select
import sys
import types
from collections.abc import Iterator

from . import walls, wire
from .acts import words_of
from .peer import Peer

OUTPUT = 1 << 20
"""Bytes of standard output that a program may write."""
PRINTED = 1 << 16
"""The largest number of bytes of output of one call; the rest is dropped."""


def serve(requests: int, replies: int, answer: wire.Message) -> None:
    """Run the solution, and answer the grader's requests until it is gone."""
    printed = _Printed()
    peer = Peer(requests, replies, printed=printed)
    sys.stdout = io.TextIOWrapper(printed, "utf-8", write_through=True)
    sys.stdin = _Input(peer)
    builtins.input = sys.stdin.input
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    try:
        run_setup(answer["prelude"], module)
        run_answer(answer, module)
        names = {name: value for name, value in module.__dict__.items() if not name.startswith("__")}
        peer.reply({"value": peer.pack(names)})
    except BaseException as error:
        peer.reply({"raised": peer.pack(error), "words": f"{type(error).__name__}: {words_of(error)}"})
    while True:
        peer.serve(peer.receive())


def run_setup(source: str, module: types.ModuleType) -> bool:
    """Run the setup of the tests before the solution. Return whether that worked."""
    try:
        exec(compile(source, "setup", "exec"), module.__dict__)
    except BaseException:
        return False
    return True


def run_answer(answer: wire.Message, module: types.ModuleType) -> None:
    """Run the solution, after the prompt's code. If it is a continuation of the prompt, run both as one source."""
    source, prompt, entry = answer["source"], answer["prompt"], answer["entry_point"]
    if prompt and not (_defines(source, entry)) and _defines(prompt + source, entry):
        source = prompt + source
    elif prompt:
        exec(compile(prompt, "prompt", "exec"), module.__dict__)
    exec(compile(source, "solution", "exec"), module.__dict__)


def _defines(source: str, name: str) -> bool:
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {node.name for node in body if isinstance(node, defined)}
    stored = {node.id for part in body for node in ast.walk(part) if isinstance(node, ast.Name)}
    return name in names | stored


class _Printed(io.BytesIO):
    """A buffer that keeps the start of the output."""

    def write(self, data: object) -> int:
        """Keep as much as there is room for, and report that all was written."""
        view = memoryview(data)  # pyright: ignore[reportArgumentType]
        super().write(view[: max(PRINTED - self.tell(), 0)])
        return view.nbytes


class _Input(io.TextIOBase):
    """The standard input of the tests' process, which they may have replaced."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def input(self, prompt: object = "") -> str:
        """Call `input` in the tests' process."""
        return str(self._peer.ask(None, "input", str(prompt)))

    def readline(self, size: int = -1) -> str:
        """The next line."""
        return str(self._peer.ask(None, "readline"))

    def read(self, size: int | None = -1) -> str:
        """The rest of the input."""
        return "".join(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")


def serve_program(requests: int, replies: int, answer: wire.Message) -> None:
    """Run the solution as a program, once per input, until the grader is gone."""
    while True:
        text = wire.receive(requests)["input"].encode()
        (source, feed), (output, sink) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(source, 0)
            os.dup2(sink, 1)
            for descriptor in (source, feed, output, sink, requests, replies):
                os.close(descriptor)
            _run_program(answer)
        os.close(source)
        os.close(sink)
        captured = _capture(feed, text, output, child, answer["seconds"])
        wire.send(replies, {"value": captured.decode("utf-8", "replace")})


def _run_program(answer: wire.Message) -> None:
    sealed = walls.seal()
    if not sealed and not answer["weak"]:
        os._exit(1)
    if not sealed or "hook" in answer["layers"]:
        walls.hook(answer["writable"])
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8")  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8")  # noqa: SIM115
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        exec(compile(answer["source"], "solution", "exec"), module.__dict__)
    except BaseException:
        pass
    finally:
        sys.stdout.flush()
        os._exit(0)


def _capture(feed: int, text: bytes, output: int, child: int, seconds: float) -> bytes:
    """Write the input and read the output of a program."""
    parts, size, rest = [], 0, memoryview(text)
    while size <= OUTPUT:
        if not rest and feed >= 0:
            os.close(feed)
            feed = -1
        ready, open_, _ = select.select([output], [feed] if feed >= 0 else [], [], seconds)
        if open_:
            rest = _fed(feed, rest)
        if ready:
            part = os.read(output, 1 << 16)
            if not part:
                break
            parts.append(part)
            size += len(part)
        if not ready and not open_:
            break
    for descriptor in (output, feed):
        if descriptor >= 0:
            os.close(descriptor)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return b"".join(parts)[:OUTPUT]


def _fed(feed: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(feed, rest[: select.PIPE_BUF]) :]
    except BrokenPipeError:  # the program has closed its input
        return rest[:0]
