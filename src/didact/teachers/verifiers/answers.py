"""Verifiers that compare a completion with a reference: exactly, as a number, with a pattern, with a schema."""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from didact.documents import parse_json
from didact.errors import ConfigError, DataError, MissingExtraError
from didact.teachers.verifiers.base import Verifier
from didact.teachers.verifiers.scorer import Scorer
from didact.types import Question

_NUMBER = re.compile(r"(?<![\w.])[-+\u2212]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,4})?(?!\w)")
_MARKS = re.compile(r"####|\banswer(?:\s{1,3}is)?\s{0,3}[:=]?", re.IGNORECASE)


def require(package: str, purpose: str) -> None:
    """Raise `MissingExtraError` unless a package of the extra `verify` is installed."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package.replace("_", "-"), "verify", purpose)


def quote(text: str) -> str:
    """Quote a pattern or mark for a spec: between slashes, with its own slashes escaped."""
    escaped = re.sub(r"(\\.)|/", lambda found: found[1] or "\\/", text, flags=re.DOTALL)
    return f"/{escaped}/"


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{}`, with balanced braces; None if there is none."""
    start = text.rfind("\\boxed{")
    depth = 0
    for place in range(start + 6, len(text)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 7 : place]
    return None


class ExactVerifier(Verifier):
    r"""1 if the text is the reference answer, without surrounding spaces; else 0.

    Args:
        after: compare only the text after the last occurrence of this mark; 0 if the mark is missing.
        boxed: compare only the content of the last `\boxed{}`; 0 if there is none.

    Raises:
        ConfigError: both are given, or the mark is empty.
    """

    needs_answer = True

    def __init__(self, *, after: str | None = None, boxed: bool = False) -> None:
        super().__init__()
        if after is not None and (boxed or not after):
            raise ConfigError(f"after is {after!r} and boxed is {boxed}: one of them, and a mark that is not empty.")
        self.after = after
        self.boxed = boxed

    def __str__(self) -> str:
        """`exact`, `exact:boxed` or `exact:after:/MARK/`."""
        return "exact:boxed" if self.boxed else "exact" if self.after is None else f"exact:after:{quote(self.after)}"

    def score(self, text: str, question: Question) -> float:
        """1 or 0."""
        said: str | None = text
        if self.boxed:
            said = last_boxed(text)
        elif self.after is not None:
            said = text.rpartition(self.after)[2] if self.after in text else None
        return float(said is not None and said.strip() == (question.answer or "").strip())


class NumericVerifier(Verifier):
    r"""1 if the final answer in the text equals the reference as a number or expression; else 0.

    The final answer is the content of the last `\boxed{}`, or else the text after the last `####` or "answer is", or
    else the whole text. If the reference is a plain number and the final answer ends in one, the two are compared
    exactly; everything else (fractions, powers, LaTeX, sets, intervals) is left to math-verify, in a process that can
    be killed, since its own time limits are signals, which work in the main thread only.

    Args:
        seconds: the time limit of one completion.

    Raises:
        MissingExtraError: math-verify is not installed.
    """

    needs_answer = True

    def __init__(self, *, seconds: float = 5.0) -> None:
        super().__init__()
        require("math_verify", "The verifier numeric")
        warm = {"answer": "\\frac{1}{2}", "text": "$\\frac{2}{4}$"}
        self._scorer = Scorer("numeric", seconds=seconds, warm=warm)

    def __str__(self) -> str:
        """`numeric`."""
        return "numeric"

    def score(self, text: str, question: Question) -> float:
        """1 or 0."""
        answer = (question.answer or "").strip()
        inside = last_boxed(text)
        final = _after_marks(text) if inside is None else inside
        known, said = plain_number(answer), last_number(final)
        if not final.strip() or (known is not None and not re.search(r"\d|\\", final)):
            return 0.0
        if known is not None and said is not None:
            return float(known == said)
        return self._scorer.ask(answer=answer, text=final if inside is None else f"$\\boxed{{{inside}}}$")


def _after_marks(text: str) -> str:
    """The text after the last mark that is followed by more than spaces; the whole text if there is none."""
    rests = (text[match.end() :] for match in reversed(list(_MARKS.finditer(text))))
    return next((rest for rest in rests if rest.strip()), text)


def plain_number(text: str) -> Decimal | None:
    """The number in a text that is nothing else, with or without thousands separators; None for other texts."""
    match = _NUMBER.fullmatch(text.strip().replace("$", ""))
    return _decimal(match[0]) if match else None


def last_number(text: str) -> Decimal | None:
    """The last number in a text; None if there is none, or if it is part of something longer (1/2, 2^3, 5%)."""
    matches = list(_NUMBER.finditer(text))
    if not matches:
        return None
    before, after = text[: matches[-1].start()].rstrip(" $"), text[matches[-1].end() :].lstrip(" $")
    if before.endswith(("/", "^", "*", "(", "{", "[", "\\", "+", "-", "_", ",", ":", "÷", "\u2212", "\u00d7")):
        return None
    return None if re.match(r"[/^*(){}\[\]\\+%!_÷\u00d7°-]|\.\d", after) else _decimal(matches[-1][0])


def _decimal(digits: str) -> Decimal | None:
    try:
        return Decimal(digits.replace(",", "").replace("\u2212", "-"))
    except InvalidOperation:
        return None


class RegexVerifier(Verifier):
    """1 if a pattern is found anywhere in the text; else 0.

    Args:
        pattern: a regular expression of Python's `re`. It is searched in a process of its own, since a pattern can take
            exponentially long.
        seconds: the time limit of one completion.

    Raises:
        ConfigError: the pattern is invalid.
    """

    def __init__(self, pattern: str, *, seconds: float = 5.0) -> None:
        super().__init__()
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(f"The pattern {pattern!r} is no regular expression: {error}.") from None
        self.pattern = pattern
        self._scorer = Scorer("regex", seconds=seconds, warm={"pattern": "a", "text": "a"})

    def __str__(self) -> str:
        """`regex:/PATTERN/`."""
        return f"regex:{quote(self.pattern)}"

    def score(self, text: str, question: Question) -> float:
        """1 or 0."""
        return self._scorer.ask(pattern=self.pattern, text=text)


class JsonSchemaVerifier(Verifier):
    """1 if the text is JSON (bare, or in its last fenced block) that fits the question's schema; else 0.

    The schema is `schema` in the question's data: a mapping, or JSON in a string. References to other documents are
    not fetched.

    Args:
        seconds: the time limit of one completion.

    Raises:
        MissingExtraError: jsonschema is not installed.
    """

    needs_data = ("schema",)

    def __init__(self, *, seconds: float = 5.0) -> None:
        super().__init__()
        require("jsonschema", "The verifier json_schema")
        self._scorer = Scorer("json_schema", seconds=seconds, warm={"schema": {"type": "object"}, "text": "{}"})

    def __str__(self) -> str:
        """`json_schema`."""
        return "json_schema"

    def check(self, questions: Sequence[Question]) -> None:
        """Raise `DataError` if a question has no schema, or an invalid one."""
        from jsonschema import SchemaError, validators

        super().check(questions)
        for question in questions:
            try:
                schema = _schema(question)
                validators.validator_for(schema).check_schema(schema)
            except (ValueError, TypeError, AttributeError, SchemaError) as error:
                words = str(error).splitlines()[0]
                raise DataError(f"The schema of question {question.id} is no JSON schema: {words}.") from None

    def score(self, text: str, question: Question) -> float:
        """1 or 0."""
        return self._scorer.ask(schema=_schema(question), text=text)


def _schema(question: Question) -> Any:
    schema = question.data["schema"]
    schema = parse_json(schema) if isinstance(schema, str) else schema
    if not isinstance(schema, Mapping | bool):
        raise TypeError(f"it is {schema!r}")
    return schema
