"""A verifier that runs unit tests on generated Python."""

import ast
import builtins
import hashlib
import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any

from didact.errors import DataError
from didact.teachers.verifiers.base import Abstention, Verifier
from didact.teachers.verifiers.sandbox import Outcome, Sandbox, Suite
from didact.types import Question

_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


class PythonVerifier(Verifier):
    """Whether the Python in a text passes its question's tests; see `didact.teachers.verifiers.sandbox`.

    The code is the last fenced block of the text, or the whole text. `tests` in the question's data is a Python source,
    a list of such sources, or a list of mappings with the `input` that a program reads and the `output` that it must
    write; `setup` is Python that runs before the tests, and `entry_point` the function that `check(candidate)` is
    called with. The code may import the standard library and NumPy. If the prompt is Python that defines the entry
    point, as in HumanEval, the code may continue it.

    Tests are `check(candidate)`, if there is an entry point; functions `test...`; unittest cases; classes `Test...`;
    doctest examples; what pytest collects, if a source imports it; and a source without any of these, with its block
    below `if __name__ == "__main__"`. A test that empty code passes is not counted. The verifier abstains if no test is
    left, and if the sandbox cannot decide. Code that takes too long, crashes or uses too much memory fails.

    Args:
        share: give the share of passed tests, instead of 1 for all and 0 otherwise.
        sandbox: the limits; by default 5 seconds and 512 MB.
    """

    kind = "unit tests"
    needs_data = ("tests",)

    def __init__(self, *, share: bool = False, sandbox: Sandbox | None = None) -> None:
        super().__init__()
        self.share = share
        self.sandbox = sandbox or Sandbox()
        self._idle: dict[bytes, frozenset[str] | None] = {}

    def __str__(self) -> str:
        """`python`, with `:share` and `:weak`."""
        return "python" + ":share" * self.share + ":weak" * self.sandbox.weak

    def check(self, questions: Sequence[Question]) -> None:
        """Check the questions' tests and the sandbox.

        Raises:
            DataError: the tests of a question are invalid.
            TeacherError: the sandbox is incomplete here, and that is not allowed.
        """
        super().check(questions)
        self.sandbox.check()
        for question in questions:
            suite_of(question)

    def guesses(self, question: Question) -> list[str]:
        """Functions that return a constant, with the names that the tests call."""
        suite = suite_of(question)
        if suite.program:
            return ["print(0)", "print(1)", "print('YES')"]
        called = set(_CALL.findall("\n".join(map(str, suite.tests)))) - _KNOWN
        names = sorted({suite.entry_point} if suite.entry_point else called)
        return ["\n".join(f"def {name}(*_, **__): return {value}" for name in names) for value in _CONSTANTS]

    def _scores(
        self, texts: Sequence[str], questions: Sequence[Question], lengths: Sequence[int] | None
    ) -> list[float | Abstention]:
        suites = [suite_of(question) for question in questions]
        keys = [hashlib.sha256(repr(suite).encode(errors="replace")).digest() for suite in suites]
        self._find_idle(dict(zip(keys, suites, strict=True)))
        outcomes = self.sandbox.map([code_in(text) for text in texts], suites)
        return [self._worth(outcome, self._idle.get(key, _NONE)) for outcome, key in zip(outcomes, keys, strict=True)]

    def _find_idle(self, suites: Mapping[bytes, Suite]) -> None:
        """Find the tests of each suite that empty code passes; None if it passes all of them."""
        new = {key: suite for key, suite in suites.items() if key not in self._idle}
        outcomes = self.sandbox.map([""] * len(new), list(new.values()))
        for key, outcome in zip(new, outcomes, strict=True):
            idle = frozenset(name for name, passed in outcome.tests.items() if passed)
            if outcome.graded and (outcome.tests or not outcome.reason):
                self._idle[key] = None if len(idle) == outcome.total else idle

    def _worth(self, outcome: Outcome, idle: frozenset[str] | None) -> float | Abstention:
        if idle is None:
            return Abstention("found no test", "empty code passes all of them")
        if not outcome.graded:
            return Abstention("could not run the tests", outcome.reason)
        passed = [passed for name, passed in outcome.tests.items() if name not in idle]
        return (sum(passed) / len(passed) if self.share else float(all(passed))) if passed else 0.0


_NONE: frozenset[str] = frozenset()
_CONSTANTS = ("None", "True", "0", "''", "[]")
_CALL = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\(")
_KNOWN = {*dir(builtins), *keyword.kwlist, "check", "candidate"}


def code_in(text: str) -> str:
    """The Python in a text: its last fenced block that is not in another language, or the whole text."""
    blocks = [code for language, code in _BLOCK.findall(text) if language.lower() in ("", "py", "python", "python3")]
    return blocks[-1] if blocks else text


def suite_of(question: Question) -> Suite:
    """The tests of a question.

    Raises:
        DataError: they are empty, or neither sources nor mappings of `input` and `output`.
    """
    given: Any = question.data["tests"]
    listed = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else ()
    sources = all(isinstance(test, str) and test.strip() for test in listed)
    cases = all(isinstance(test, Mapping) and {"input", "output"} <= set(test) for test in listed)
    if not listed or not (sources or cases):
        raise DataError(
            f"The tests of question {question.id} are {given!r:.80}; they must be Python sources, or mappings with the "
            "'input' that a program reads and the 'output' that it must write."
        )
    entry = str(question.data.get("entry_point") or "") or None
    prompt = question.prompt if entry and _defined(question.prompt, entry) else ""
    return Suite(tests=listed, setup=str(question.data.get("setup") or ""), entry_point=entry, prompt=prompt)


def _defined(text: str, name: str) -> bool:
    """Whether a text is Python that defines a function."""
    if f"def {name}" not in text:
        return False
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in body)
