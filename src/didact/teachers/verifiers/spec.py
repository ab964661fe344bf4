r"""Verifiers from a line of text.

A spec is a sum of terms, each a verifier with a weight before it: `numeric+0.1*regex:/<answer>/`. A verifier is one of

- `exact`, `exact:boxed`, `exact:after:MARK`; `numeric`; `regex:PATTERN`; `json_schema`; `reasoning_gym`
- `python`, with `:share` (of the tests passed) and `:weak` (also where the sandbox's walls are incomplete)
- `length:MAX`, `length:MAX:CACHE`, in tokens; `characters:MAX`, `characters:MAX:CACHE`
- `gate(A,B)`: B where A is above 0, else 0
- `package.module:function`: a function of a text and a question

A pattern or mark stands between slashes (`\/` is a slash in it) where anything follows it; without slashes, it goes on
to the end of the spec. A negative weight is written `+-0.5*`.
"""

import importlib
import re

from didact import trusting
from didact.errors import ConfigError, TeacherError, nearest
from didact.teachers.verifiers.answers import ExactVerifier, JsonSchemaVerifier, NumericVerifier, RegexVerifier
from didact.teachers.verifiers.base import FunctionVerifier, Verifier
from didact.teachers.verifiers.combining import GatedVerifier, LengthPenalty, WeightedVerifier
from didact.teachers.verifiers.python_tests import PythonVerifier
from didact.teachers.verifiers.reasoning import ReasoningVerifier
from didact.teachers.verifiers.sandbox import Sandbox

KNOWN = ("exact", "numeric", "regex", "json_schema", "reasoning_gym", "python", "length", "characters", "gate")
"""The kinds of verifier that a spec can name."""

_WEIGHT = re.compile(r"\s*(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\*\s*")
_NAME = re.compile(r"\s*([A-Za-z_][\w.]*)")
_QUOTED = re.compile(r"/((?:[^/\\]|\\.)*)/", re.DOTALL)
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*")


def verifier_of(spec: str) -> Verifier:
    """The verifier that a spec names; `str` of it is a spec of the same.

    Raises:
        ConfigError: the spec can't be read, or names something that isn't there.
        MissingExtraError: a part needs a package that is not installed.
    """
    reader = _Reader(spec)
    verifier = reader.sum()
    reader.finish()
    return verifier


class _Reader:
    """Reads a spec from left to right.

    Args:
        spec: the whole of it.
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.place = 0
        self.depth = 0

    def sum(self) -> Verifier:
        parts = [self.term()]
        while self.take("+"):
            parts.append(self.term())
        return parts[0][1] if len(parts) == 1 and parts[0][0] == 1.0 else WeightedVerifier(parts)

    def term(self) -> tuple[float, Verifier]:
        weight = _WEIGHT.match(self.spec, self.place)
        self.place = weight.end() if weight else self.place
        return float(weight[1]) if weight else 1.0, self.one()

    def one(self) -> Verifier:
        if self.take("("):
            inner = self.inside()
            self.expect(")")
            return inner
        found = _NAME.match(self.spec, self.place)
        if found is None:
            raise self.wrong(f"a verifier was expected here. {nearest('', KNOWN)}")
        self.place = found.end()
        return self.gate() if found[1] == "gate" else self.named(found[1])

    def gate(self) -> Verifier:
        self.expect("(")
        condition = self.inside()
        self.expect(",")
        verifier = self.inside()
        self.expect(")")
        return GatedVerifier(condition, verifier)

    def inside(self) -> Verifier:
        self.depth += 1
        found = self.sum()
        self.depth -= 1
        return found

    def named(self, name: str) -> Verifier:
        given = self.spec.startswith(":", self.place)
        self.place += given
        match name:
            case "regex":
                return RegexVerifier(self.quoted("pattern"))
            case "exact" if given and self.spec.startswith("after:", self.place):
                self.place += len("after:")
                return ExactVerifier(after=self.quoted("mark"))
        rest = self.bare() if given else ""
        options = rest.split(":") if given else []
        return self.simple(name, options) if name in KNOWN else self.function(name, rest)

    def simple(self, name: str, options: list[str]) -> Verifier:
        plain = {"numeric": NumericVerifier, "json_schema": JsonSchemaVerifier, "reasoning_gym": ReasoningVerifier}
        if name in plain:
            self.only(name, options, ())
            return plain[name]()
        if name == "exact":
            self.only(name, options, ("boxed",))
            return ExactVerifier(boxed="boxed" in options)
        if name == "python":
            self.only(name, options, ("share", "weak"))
            if "weak" in options:
                # What a model writes would then run with nothing but Python's own hooks around it.
                trusting.check(":".join([name, *options]), "code")
            return PythonVerifier(share="share" in options, sandbox=Sandbox(weak="weak" in options))
        if not 1 <= len(options) <= 2 or not all(option.strip().isdecimal() for option in options):
            raise self.wrong(f"{name} takes a length, and perhaps how long it grows: {name}:512 or {name}:512:64")
        longest, *cache = map(int, options)
        return LengthPenalty(longest, cache=cache[0] if cache else None, characters=name == "characters")

    def only(self, name: str, options: list[str], known: tuple[str, ...]) -> None:
        for option in options:
            if option not in known:
                raise self.wrong(f"{name} has no option {option!r}. {nearest(option, known)}")

    def function(self, module: str, name: str) -> Verifier:
        if not _FUNCTION.fullmatch(name):
            raise self.wrong(f"there is no verifier {module!r}. {nearest(module, KNOWN)}")
        trusting.check(f"{module}:{name}", "code")
        found = self.imported(module)
        for part in name.split("."):
            if not hasattr(found, part):
                public = [known for known in dir(found) if not known.startswith("_")]
                raise self.wrong(f"the module {module!r} has no {name!r}. {nearest(part, public)}")
            found = getattr(found, part)
        return found if isinstance(found, Verifier) else self.called(found, f"{module}:{name}")

    def imported(self, module: str) -> object:
        try:
            return importlib.import_module(module)
        except ImportError as error:
            known = nearest(module, KNOWN)
            raise self.wrong(f"{module!r} is neither a verifier nor a module to import ({error}). {known}") from None

    def called(self, found: object, name: str) -> Verifier:
        try:
            return FunctionVerifier(found, name=name)  # pyright: ignore[reportArgumentType] - it checks that itself
        except TeacherError as error:
            raise self.wrong(str(error)) from None

    def quoted(self, what: str) -> str:
        found = _QUOTED.match(self.spec, self.place)
        if found:
            self.place = found.end()
            return found[1].replace("\\/", "/")
        if self.depth:
            raise self.wrong(f"in parentheses, a {what} stands between slashes: /{what}/")
        text, self.place = self.spec[self.place :], len(self.spec)
        if not text:
            raise self.wrong(f"a {what} was expected here, as in regex:/PATTERN/ or exact:after:/MARK/")
        return text

    def bare(self) -> str:
        start = self.place
        while self.place < len(self.spec) and self.spec[self.place] not in "+,()* ":
            self.place += 1
        return self.spec[start : self.place]

    def take(self, sign: str) -> bool:
        while self.spec.startswith(" ", self.place):
            self.place += 1
        there = self.spec.startswith(sign, self.place)
        self.place += len(sign) * there
        return there

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.wrong(f"{sign!r} was expected here")

    def finish(self) -> None:
        self.take("")
        if self.place < len(self.spec):
            raise self.wrong("the verifier is complete here, but more follows; '+' adds another one")

    def wrong(self, reason: str) -> ConfigError:
        read, left = self.spec[: self.place], self.spec[self.place :]
        reason = reason if reason.endswith((".", "?")) else reason + "."
        return ConfigError(f"verifier is {self.spec!r}, which can't be read after {read!r} (left: {left!r}): {reason}")
