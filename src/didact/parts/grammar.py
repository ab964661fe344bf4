r"""Reads specs, for every part of a run.

- `kind`, or `kind:argument`, such as `mlp:64,64`; the kinds are the files of `didact/parts/<role>s/`.
- `kind:argument:inner`, if the kind takes another part, such as `noisy:0.3:warm:90%:decoder:2x64`.
- `A+B` is a list of parts: a committee of teachers, a sum of verifiers; `0.1*B` gives one a weight. Parentheses group a
  list, as in `noisy:0.3:(mlp:64+cnn:8)`; `gate(A,B)` takes two parts.
- `kind:/text/` takes any text between slashes (`\/` is a slash in it); without slashes, the text extends to the end.
- A path that exists is read as a path, whatever characters it has.
- `package.module:name` is a custom object.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from didact import trusting
from didact.errors import ConfigError, nearest
from didact.parts.kinds import ROLES, Kind, Role, Spec, kinds

DEPTH = 20
"""Maximal nesting depth of parts."""
LENGTH = 10_000
"""Maximal number of characters of a spec."""
_WEIGHT = re.compile(r"\s*(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\*\s*")
_NAME = re.compile(r"[A-Za-z_](?:[\w.]|-(?=\w))*")
_WORD = re.compile(r"[^:()+]*")
_QUOTED = re.compile(r"/((?:[^/\\]|\\.)*)/", re.DOTALL)
_OWN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def parse(text: str, role: str, *, field: str = "") -> Spec:
    """Read a spec; nothing is imported or opened.

    Args:
        text: the spec.
        role: the role of the part, one of `ROLES`.
        field: the name of the option for messages; by default the role.

    Returns:
        The spec as a tree.

    Raises:
        ConfigError: It cannot be read; the message says what would work.
        TrustError: It comes from a file and names code or a download; see `didact.trusting`.
    """
    if len(text) > LENGTH:
        raise ConfigError(f"{field or role} has {len(text)} characters, but a spec has {LENGTH} at most.")
    reader = _Reader(text, field or role)
    spec = reader.list(ROLES[role])
    if reader.place < len(text):
        raise reader.error("the spec is complete here, but more follows; '+' joins parts, and ':' starts an argument.")
    return spec


class _Reader:
    """Reads a spec from left to right.

    Args:
        text: the whole spec.
        field: the name of the option.
    """

    def __init__(self, text: str, field: str) -> None:
        self.text, self.field, self.place, self.depth = text, field, 0, 0
        self.ends = "+"
        """The characters that end an argument here."""

    def list(self, role: Role) -> Spec:
        """A part, or several with `+` between them, each with an optional weight before it."""
        start, parts = self.place, list[Spec]()
        while not parts or self.take("+"):
            self.take("")
            weight = None if self.ahead()[1] else _WEIGHT.match(self.text, self.place)
            self.place = weight.end() if weight else self.place
            parts.append(replace(self.one(role), weight=float(weight[1]) if weight else 1.0))
        if len(parts) == 1 and parts[0].weight == 1.0:
            return parts[0]
        if not role.joined:
            raise self.error(f"a {role.name} is one part, which takes neither '+' nor a weight.")
        return self.spec(kinds(role.name)[role.joined], start, inner=parts)

    def one(self, role: Role) -> Spec:
        """A part without its weight: a path, a list in parentheses, a custom object, or a part of a kind."""
        self.depth += 1
        if self.depth > DEPTH:
            raise self.error(f"parts are nested more than {DEPTH} deep.")
        start, (end, there) = self.place, self.ahead()
        name = _NAME.match(self.text, start)
        plain = name[0].replace("-", "_") if name else ""
        if there:
            spec = self.path(role, end)
        elif self.text.startswith("(", start):
            (spec,) = self.inside([role], "+)")
        elif (kind := next((kind for kind in _all(role) if kind.named and kind.name == plain), None)) and name:
            self.place = name.end()
            spec = self.of_kind(kind, start)
        else:
            spec = self.own(role)
        self.depth -= 1
        return spec if spec.role == role.name else self.spec(kinds(role.name)[role.wrapper], start, inner=[spec])

    def of_kind(self, kind: Kind, start: int) -> Spec:
        """A part of a kind whose name was read."""
        if kind.called:
            inner = self.inside([ROLES[role] for role in kind.nested], "+,)")
            return self.spec(kind, start, inner=inner)
        if not kind.nested:
            return self.spec(kind, start, argument=self.argument(kind, start))
        words = []
        self.colon(kind)
        for _ in range(kind.words):
            found = _WORD.match(self.text, self.place)
            words.append(self.until(found.end() if found else self.place))
            self.colon(kind)
        inner = (self.list if kind.takes_list else self.one)(ROLES[kind.nested[0]])
        return self.spec(kind, start, argument=":".join(words), inner=[inner])

    def inside(self, roles: Sequence[Role], ends: str) -> Sequence[Spec]:
        """Parts in parentheses, with commas between them."""
        outer, self.ends = self.ends, ends
        inner = []
        for number, role in enumerate(roles):
            self.expect("," if number else "(")
            inner.append(self.list(role))
        self.expect(")")
        self.ends = outer
        return inner

    def colon(self, kind: Kind) -> None:
        """Skip a required colon, which must be followed by something."""
        if not self.text.startswith(":", self.place) or not self.text[self.place + 1 :].strip(" )"):
            raise self.error(kind.usage)
        self.take(":")
        self.take("")

    def argument(self, kind: Kind, start: int) -> str:
        """The argument of a part without nested parts."""
        quoted = next((one for one in kind.quoted if self.text.startswith(one, start)), "")
        if quoted:
            self.place = start + len(quoted)
            return quoted.removeprefix(f"{kind.name}:") + self.quoted(kind)
        if not self.text.startswith(":", self.place):
            return self.until(self.place)
        if kind.form == kind.name:
            raise self.error(f"{kind.name} takes no argument.")
        self.place += 1
        return self.until(self.ahead()[0])

    def quoted(self, kind: Kind) -> str:
        """Text between slashes; without them, the rest of the spec."""
        found = _QUOTED.match(self.text, self.place)
        if found:
            self.place = found.end()
            return found[1].replace("\\/", "/")
        if ")" in self.ends:
            raise self.error(f"{kind.usage} In parentheses, the slashes are needed.")
        return self.until(len(self.text))

    def own(self, role: Role) -> Spec:
        """A custom object `package.module:name`; anything else is an error."""
        start, (end, _) = self.place, self.ahead()
        text = self.text[start:end].strip()
        if role.own and _OWN.fullmatch(text):
            self.place = end
            return self.spec(kinds(role.name)[role.own], start, argument=text)
        if not text:
            raise self.error(f"a {role.name} was expected here. {_known(role)}")
        if os.sep in text or any(kind.is_at(Path(text)) for kind in _all(role)) or _has_suffix(text, role):
            raise self.error(f"there is no file or directory {text!r}. {_known(role)}")
        name = text.partition(":")[0]
        raise self.error(f"there is no {role.name} {name!r}. {nearest(name, _names(role))}{_advice(role)}")

    def path(self, role: Role, end: int) -> Spec:
        """An existing path, up to a position."""
        start, text = self.place, self.until(end)
        found = next((kind for kind in _all(role) if kind.is_at(Path(text))), None)
        if found is None:
            what = "directory" if Path(text).is_dir() else "file"
            wanted = "; ".join(f"{kind.name}: {', '.join(kind.paths)}" for kind in _all(role) if kind.paths)
            raise self.error(f"{text!r} is a {what} that is no {role.name}. A path may be {wanted or 'none'}.")
        return self.spec(found, start, argument=text)

    def spec(self, kind: Kind, start: int, *, argument: str = "", inner: Sequence[Spec] = ()) -> Spec:
        """The part that was read from `start` on; raises `TrustError` if an untrusted file names code or a download."""
        text = self.text[start : self.place].strip()
        local = kind.names == "download" and os.path.isdir(argument)  # noqa: PTH112 - never raises
        if kind.names and not local:
            trusting.check(text, kind.names)
        return Spec(role=kind.role, kind=kind.name, field=self.field, argument=argument, inner=tuple(inner), text=text)

    def ahead(self) -> tuple[int, bool]:
        """The end of the longest existing path from here, and True; else the next separator, and False."""
        ends = [i for i in range(self.place, len(self.text)) if self.text[i] in self.ends] + [len(self.text)]
        for end in reversed(ends):
            text = self.text[self.place : end].strip()
            if text and os.path.exists(text):  # noqa: PTH110 - never raises, however odd the text is
                return end, True
        return ends[0], False

    def until(self, end: int) -> str:
        """Move to a position; returns the text before it, stripped."""
        start, self.place = self.place, end
        text = self.text[start:end].strip()
        self.take("")
        return text

    def take(self, sign: str) -> bool:
        """Skip spaces, then a character if it is next; returns whether it was."""
        while self.text.startswith(" ", self.place):
            self.place += 1
        there = self.text.startswith(sign, self.place)
        self.place += len(sign) * there
        return there

    def expect(self, sign: str) -> None:
        """Skip a required character."""
        if not self.take(sign):
            raise self.error(f"{sign!r} was expected here.")

    def error(self, reason: str) -> ConfigError:
        """An error with the reason and the position."""
        read, left = self.text[: self.place], self.text[self.place :]
        where = f" (read: {read!r}, left: {left!r})" if read.strip() and left else ""
        return ConfigError(f"{self.field} is {self.text!r}, but {reason}{where}")


def _all(role: Role) -> list[Kind]:
    """The kinds that fit a role, its own first."""
    return [*kinds(role.name).values(), *(kinds(role.wraps).values() if role.wraps else ())]


def _names(role: Role) -> list[str]:
    return list(dict.fromkeys(kind.name for kind in _all(role) if kind.named))


def _known(role: Role) -> str:
    return f"Known: {', '.join(_names(role))}.{_advice(role)}"


def _advice(role: Role) -> str:
    own = " package.module:name is a custom one;" if role.own else ""
    return f"{own} `didact list {role.package.rpartition('.')[2]}` prints them."


def _has_suffix(text: str, role: Role) -> bool:
    suffixes = {pattern.lstrip("*") for kind in _all(role) for pattern in kind.paths if pattern.startswith("*.")}
    return Path(text).suffix.lower() in suffixes
