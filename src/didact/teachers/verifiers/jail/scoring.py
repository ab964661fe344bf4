"""The process that compares texts by means that can hang, or that run what a model wrote (SymPy evaluates text).

One process serves a verifier for as long as it lasts, behind the same walls; where an answer takes too long, it is
killed and another one takes its place.
"""

import json
import re
import sys
from typing import Any

from . import walls, wire


def main() -> None:
    """Read a set-up, then one request after the other, from descriptor 0; reply to descriptor 1."""
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
    """1 where the pattern is found anywhere in the text."""
    return float(re.search(pattern, text) is not None)


def json_schema(schema: Any, text: str) -> float:
    """1 where the text is JSON, bare or in the last fenced block, that fits the schema."""
    from jsonschema import validators

    fenced = re.findall(r"```(?:json)?\s*\n(.*?)```", text, re.DOTALL)
    try:
        value = json.loads(fenced[-1] if fenced else text)
    except (ValueError, RecursionError):
        return 0.0
    kind = validators.validator_for(schema)
    return float(kind(schema).is_valid(value))


def numeric(answer: str, text: str) -> float:
    """1 where both mean the same number, set, interval, matrix or expression."""
    import logging

    import math_verify

    logging.disable(logging.CRITICAL)
    # No time limits of its own: they are alarm signals, which only a main thread may have, and kill nothing in C.
    gold, said = (_parsed(math_verify.parse, words) for words in (answer, text))
    if not gold:
        raise ValueError(f"the reference answer {answer!r} is no number and no expression")
    return float(math_verify.verify(gold, said, timeout_seconds=None, raise_on_error=False))


def _parsed(parse: Any, text: str) -> list[Any]:
    """As a formula where it has no words, else what is found in it."""
    formula = f"${text}$"
    words = re.search(r"(?<![\\A-Za-z])[A-Za-z]{2,}", text)
    tries = [text] if "$" in text or "boxed" in text else [text, formula] if words else [formula, text]
    return next((found for tried in tries if (found := parse(tried, parsing_timeout=None))), [])


_SCORERS: wire.Message = {}


def reasoning_gym(dataset: str, text: str, entry: wire.Message) -> float:
    """What the task's own scorer says, in [0, 1]."""
    from reasoning_gym.factory import get_score_answer_fn

    if dataset not in _SCORERS:
        _SCORERS[dataset] = get_score_answer_fn(dataset)
    return float(_SCORERS[dataset](text, entry))
