"""The process that runs a solution. It knows the solution and its arguments, and nothing of the tests.

Code that takes it over gains only the power to return other values, which any solution has.
"""

import io
import os
import select
import sys
from typing import Any

from . import walls, wire

OUTPUT = 1 << 20
"""The limit of a program's standard output, in bytes."""


def serve(requests: int, replies: int, source: str) -> None:
    """Run the solution, and call its functions on the grader's requests, until the grader is gone."""
    names: wire.Message = {"__name__": "solution"}
    objects: list[Any] = []

    def handle(value: Any) -> Any:
        objects.append(value)
        return ["object", len(objects) - 1]

    def packed(value: Any) -> Any:
        try:
            return wire.pack(value, handle)
        except RecursionError:
            return handle(value)

    def operand(message: Any) -> Any:
        return wire.unpack(message, lambda item: objects[item[1]])

    try:
        exec(compile(source, "solution", "exec"), names)
        public = [(name, value) for name, value in names.items() if not name.startswith("_")]
        wire.send(replies, {"names": {name: packed(value) for name, value in public}})
    except BaseException as error:
        wire.send(replies, {"raised": type(error).__name__, "message": _words(error)})
    while True:
        request = wire.receive(requests)
        try:
            arguments = [operand(item) for item in request["arguments"]]
            before = [packed(item) if isinstance(item, list | dict | set) else None for item in arguments]
            keywords = {key: operand(item) for key, item in request["keywords"].items()}
            result = packed(_do(objects[request["object"]], request["action"], arguments, keywords))
            after = [None if was is None else packed(item) for was, item in zip(before, arguments, strict=True)]
            changed = [None if was == now else now for was, now in zip(before, after, strict=True)]
            wire.send(replies, {"result": result, "changed": changed})
        except BaseException as error:
            wire.send(replies, {"raised": type(error).__name__, "message": _words(error)})


def _words(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except BaseException:
        return ""


def _do(target: Any, action: str, arguments: list[Any], keywords: wire.Message) -> Any:
    """One of the operations that a test may apply to an object of the solution."""
    match action:
        case "call":
            return target(*arguments, **keywords)
        case "get":
            return getattr(target, arguments[0])
        case "set":
            return setattr(target, arguments[0], arguments[1])
        case "item":
            return target[arguments[0]]
        case "put":
            target[arguments[0]] = arguments[1]
            return None
        case "holds":
            return arguments[0] in target
        case "list":
            return [item for item, _ in zip(target, range(1_000_000), strict=False)]
        case _:
            return {"len": len, "str": str, "repr": repr, "int": int, "float": float}[action](target)


def serve_program(requests: int, replies: int, source: str, limits: wire.Message) -> None:
    """Run the solution as a program, once for each input, until the grader is gone."""
    while True:
        text = wire.receive(requests)["input"]
        output, sink = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(output)
            _run_program(source, text, sink, [requests, replies], limits)
        os.close(sink)
        captured = _capture(output, child, limits["seconds"])
        wire.send(replies, {"result": captured.decode("utf-8", "replace")})


def _run_program(source: str, text: str, sink: int, secret: list[int], limits: wire.Message) -> None:
    for descriptor in secret:
        os.close(descriptor)
    os.dup2(sink, 1)
    os.close(sink)
    sealed = walls.seal()
    if not sealed and not limits["weak"]:
        os._exit(1)
    if not sealed or "hook" in limits["layers"]:
        walls.hook([os.getcwd()])  # noqa: PTH109
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8")
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8")  # noqa: SIM115
    try:
        exec(compile(source, "solution", "exec"), {"__name__": "__main__"})
    except BaseException:
        pass
    finally:
        sys.stdout.flush()
        os._exit(0)


def _capture(output: int, child: int, seconds: float) -> bytes:
    parts, size = [], 0
    while size <= OUTPUT and select.select([output], [], [], seconds)[0]:
        part = os.read(output, 1 << 16)
        if not part:
            break
        parts.append(part)
        size += len(part)
    os.close(output)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return b"".join(parts)[:OUTPUT]
