"""The process that compares texts with code that can hang, or that runs what a model wrote (SymPy evaluates text).

One process serves a verifier for its lifetime, behind the same walls; if a text takes too long, the process is killed
and replaced.
"""

import json
import re
import sys
from typing import Any

from . import walls, wire


def main() -> None:
    """Read a set-up, then requests, from descriptor 0; reply to descriptor 1."""
    setup = wire.receive(0)
    sys.path[:] = setup["paths"]
    kinds = {"regex": regex, "json_schema": json_schema, "numeric": numeric, "reasoning_gym": reasoning_gym}
    score = kinds[setup["kind"]]
    for request in setup["warm"]:
        score(**request)  # imports what it needs while files can still be found
    readable = [*walls.readable_by_python(), *setup["paths"]]
    layers = walls.confine(readable=readable, writable=[], seconds=1e8, memory=setup["memory"])
    wire.send(1, {"layers": layers})
    while True:
        try:
            request = wire.receive(0)
        except wire.WireError:
            return
        try:
            reply = {"score": score(**request)}
        except Exception as error:
            reply = {"raised": type(error).__name__, "message": str(error)[:300]}
        wire.send(1, reply)


def regex(pattern: str, text: str) -> float:
    """1 if the pattern is found anywhere in the text."""
    return float(re.search(pattern, text) is not None)


def json_schema(schema: Any, text: str) -> float:
    """1 if the text is JSON, bare or in the last fenced block, that fits the schema."""
    from jsonschema import validators

    fenced = re.findall(r"```(?:json)?\s*\n(.*?)```", text, re.DOTALL)
    try:
        value = json.loads(fenced[-1] if fenced else text)
    except (ValueError, RecursionError):
        return 0.0
    kind = validators.validator_for(schema)
    return float(kind(schema).is_valid(value))


def numeric(answer: str, text: str) -> float:
    """1 if both are the same number, set, interval, matrix or expression."""
    import logging

    import math_verify

    logging.disable(logging.CRITICAL)
    # Without its own time limits: they are alarm signals, which work in the main thread only, and do not stop C code.
    gold, said = (_parsed(math_verify.parse, words) for words in (answer, text))
    if not gold:
        raise ValueError(f"the reference answer {answer!r} is no number and no expression")
    return float(math_verify.verify(gold, said, timeout_seconds=None, raise_on_error=False))


def _parsed(parse: Any, text: str) -> list[Any]:
    """Parse a text without words as a formula, others for the expressions in them."""
    formula = f"${text}$"
    words = re.search(r"(?<![\\A-Za-z])[A-Za-z]{2,}", text)
    tries = [text] if "$" in text or "boxed" in text else [text, formula] if words else [formula, text]
    return next((found for tried in tries if (found := parse(tried, parsing_timeout=None))), [])


_SCORERS: wire.Message = {}


def reasoning_gym(dataset: str, text: str, entry: wire.Message) -> float:
    """The score by the task's own scorer, in [0, 1]."""
    from reasoning_gym.factory import get_score_answer_fn

    if dataset not in _SCORERS:
        _SCORERS[dataset] = get_score_answer_fn(dataset)
    return float(_SCORERS[dataset](text, entry))
