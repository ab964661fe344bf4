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
_MARKS = re.compile(r"####|\banswer\s{0,3}(?:is\b|[:=])\s{0,3}[:=]?", re.IGNORECASE)
_THAT = re.compile(r"\s{1,3}is\s{1,3}(?:the|my|our)\s{1,3}(?:(?:final|correct|right)\s{1,3})?answer\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\s{1,3}(?:is|was|are)(?:\s{1,3}not|n['\u2019]t)\s{1,3}(?:(?:the|my|our|a)\s{1,3})?(?:(?:final|correct|right)\s{1,3})?"
    r"(?:answer|result|solution|correct|right)\b|\s{1,3}(?:is|was)\s{1,3}(?:wrong|incorrect|false)\b",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"(?:\bnot|n['\u2019]t|\bnever)\s{1,3}(?:(?:be|equal\s{1,3}to)\s{1,3})?(?=\S{0,8}[\d\\])\S{1,80}", re.IGNORECASE
)
_CLAUSE = re.compile(r"[.?!;:,](?=\s)|\n")
_SENTENCE = re.compile(r"[.?](?=\s|$)|\n")
_BULLET = re.compile(r"^[ \t]{0,8}[-*+\u2022][ \t]{1,4}", re.MULTILINE)
_EMPHASIS = re.compile(r"(?<![\w)*_`])([*_`]{1,3})([^\s*_`](?:[^*_`\n]{0,198}[^\s*_`])?)\1(?![\w*_`])")
_LONG = 2_000
"""The largest number of characters of a final answer."""
_FORMULA = re.compile(r"(?<!\\)\\[\[\]()]")


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

    The final answer is the first of these that the text has:

    1. the content of the last `\boxed{}`;
    2. the text between the last `<answer>` and `</answer>`;
    3. the sentence after the last `####`, "answer is" or "answer:";
    4. the sentence before the last "is the answer";
    5. the last number or expression of the whole text.

    Bold type, list markers and formula delimiters (`**42**`, `- 42`, `\[42\]`) are ignored. A negated answer ("42 is
    not the answer", "not 43") does not count. If the reference is a plain number and the final answer ends in one, the
    two are compared exactly; everything else (fractions, powers, LaTeX, sets, intervals) is left to math-verify, in a
    process that can be killed, since its own time limits are signals, which work in the main thread only.

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
        final, boxed = final_answer(text)
        known, said = plain_number(answer), last_number(final)
        if not final.strip() or (known is not None and not re.search(r"\d|\\", final)):
            return 0.0
        if known is not None and said is not None:
            return float(known == said)
        return self._scorer.ask(answer=answer, text=f"$\\boxed{{{final}}}$" if boxed else final)


def final_answer(text: str) -> tuple[str, bool]:
    r"""The final answer of a text, by the rule of `NumericVerifier`, and whether it is from a `\boxed{}`.

    It is empty if there is none.
    """
    plain = _undenied(text)
    if (inside := last_boxed(plain)) is not None:
        return inside, True
    plain = _unmarked(plain)
    end = plain.rfind("</answer>")
    start = plain.rfind("<answer>", 0, max(end, 0))
    if start >= 0:
        return plain[start + len("<answer>") : end], False
    for marks, part in ((_MARKS, _behind), (_THAT, _before)):
        for mark in reversed(list(marks.finditer(plain))):
            if found := part(plain, mark):
                return found, False
    return plain, False


def _behind(text: str, mark: re.Match[str]) -> str:
    """The first sentence after a mark."""
    rest = text[mark.end() : mark.end() + _LONG].lstrip()
    return _SENTENCE.split(rest, maxsplit=1)[0].strip()


def _before(text: str, mark: re.Match[str]) -> str:
    """The sentence before a mark, if it has a number or a formula."""
    sentence = _SENTENCE.split(text[max(mark.start() - _LONG, 0) : mark.start()])[-1]
    return sentence if re.search(r"\d|\\", sentence) else ""


def _undenied(text: str) -> str:
    """A text without negated answers."""
    kept, place = "", 0
    for denial in _DENIED.finditer(text):
        words = text[place : denial.start()]
        ends = [clause.end() for clause in _CLAUSE.finditer(words)]
        kept += words[: ends[-1] if ends else 0]
        place = denial.end()
    return _NOT.sub(" ", kept + text[place:])


def _unmarked(text: str) -> str:
    """A text without list markers and bold type, with formulas between dollars."""
    return _EMPHASIS.sub(r"\2", _BULLET.sub("", _FORMULA.sub("$", text)))


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
