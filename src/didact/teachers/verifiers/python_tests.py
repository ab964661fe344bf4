"""A verifier that runs unit tests on generated Python."""

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

    The code is the last fenced block of the text, or the whole text. `tests` in the question's data is Python source
    (assertions, `check(candidate)`, `test_...` functions, unittest cases), a list of such sources, or a list of
    mappings with the `input` that a program reads and the `output` that it must write; `setup` is Python that runs
    before the tests, and `entry_point` the name that they call. The solution can use the standard library. A solution
    that takes too long, crashes or exceeds a limit fails; tests that can't be run are an abstention.

    Tests get copies of a solution's plain data, and proxies for everything else: an object of the solution's own class
    never equals another one, and functions can't be passed as arguments.

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

    def _scores(
        self, texts: Sequence[str], questions: Sequence[Question], lengths: Sequence[int] | None
    ) -> list[float | Abstention]:
        sources = [code_in(text) for text in texts]
        outcomes = self.sandbox.map(sources, [suite_of(question) for question in questions])
        return [self._worth(outcome) for outcome in outcomes]

    def _worth(self, outcome: Outcome) -> float | Abstention:
        if not outcome.graded:
            return Abstention("could not run the tests", outcome.reason)
        if outcome.total == 0:
            return 0.0
        return outcome.passed / outcome.total if self.share else float(outcome.passed == outcome.total)


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
    entry = question.data.get("entry_point")
    return Suite(tests=listed, setup=str(question.data.get("setup") or ""), entry_point=str(entry) if entry else None)
