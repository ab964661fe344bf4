r"""Reads specs, for every part of a run.

- `kind`, or `kind:argument`, such as `mlp:64,64`; the kinds are the files of `didact/parts/<role>s/`.
- `kind:argument:inner`, where the kind takes another part, such as `noisy:0.3:warm:90%:decoder:2x64`.
- `A+B` is a list of parts: a committee of teachers, a sum of verifiers; `0.1*B` weighs one of them. Parentheses hold a
  list together, as in `noisy:0.3:(mlp:64+cnn:8)`; `gate(A,B)` takes two parts.
- `kind:/text/` takes any text between slashes (`\/` is a slash in it); without slashes, it goes on to the end.
- A path that exists is a path, whatever characters it has.
- `package.module:name` is something of your own.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from didact import trusting
from didact.errors import ConfigError, nearest
from didact.parts.kinds import ROLES, Kind, Role, Spec, find, kinds

DEPTH = 20
"""How deeply parts may be nested."""
LENGTH = 10_000
"""How many characters a spec may have."""
_WEIGHT = re.compile(r"\s*(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\*\s*")
_NAME = re.compile(r"[A-Za-z_](?:[\w.]|-(?=\w))*")
_QUOTED = re.compile(r"/((?:[^/\\]|\\.)*)/", re.DOTALL)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def parse(
    text: str,
    role: str,
    *,
    field: str = "",
) -> Spec:
    """Read a spec; nothing is imported or opened.

    Args:
        text: the spec.
        role: what it is a spec of, one of `ROLES`.
        field: what it was given for, for messages; by default the role.

    Returns:
        The spec as a tree.

    Raises:
        ConfigError: It cannot be read; the message says what would work.
        TrustError: A file asks for it, and it names code or a download; see `didact.trusting`.
    """
    reader = _Reader(text, field or role)
    if len(text) > LENGTH:
        raise ConfigError(f"{field or role} has {len(text)} characters, but a spec has {LENGTH} at most.")
    spec = reader.whole(ROLES[role])
    for one in spec.walk():
        names = find(one.role, one.kind).names
        local = names == "download" and os.path.isdir(one.argument)  # noqa: PTH112 - never raises
        if names and not local:
            trusting.check(one.text, names)
    return spec


class _Reader:
    """Reads a spec from left to right.

    Args:
        text: the whole of it.
        field: what it was given for.
    """

    def __init__(self, text: str, field: str) -> None:
        self.text, self.field, self.place = text, field, 0
        self.ends: list[str] = []
        """The signs that end an argument in the parentheses around it, from the outermost inwards."""
        self.depth = 0

    def whole(self, role: Role) -> Spec:
        """The spec from its beginning to its end."""
        if not self.text.strip():
            raise self.wrong(f"a {role.name} was expected. {_known(role)}")
        spec = self.list(role)
        if self.place < len(self.text):
            raise self.wrong(
                "the spec is complete here, but more follows; '+' joins parts, and ':' begins an argument."
            )
        return spec

    def list(self, role: Role) -> Spec:
        """A term, or several with `+` between them."""
        self.skip()
        start, parts = self.place, [self.term(role)]
        while self.take("+"):
            parts.append(self.term(role))
        if len(parts) == 1 and parts[0].weight == 1.0:
            return parts[0]
        if not role.joined:
            raise self.wrong(f"a {role.name} is one part, so that neither '+' nor a weight means anything.")
        return Spec(role=role.name, kind=role.joined, inner=tuple(parts), text=self.since(start))

    def term(self, role: Role) -> Spec:
        """A part, perhaps with a weight before it."""
        self.skip()
        if self.path_ahead():
            return self.path(role)
        weight = _WEIGHT.match(self.text, self.place)
        self.place = weight.end() if weight else self.place
        spec = self.one(role)
        return replace(spec, weight=float(weight[1])) if weight else spec

    def one(self, role: Role) -> Spec:
        """A part without its weight."""
        self.depth += 1
        if self.depth > DEPTH:
            raise self.wrong(f"parts are nested more than {DEPTH} deep.")
        spec = self.path(role) if self.path_ahead() else self.named(role)
        self.depth -= 1
        return spec

    def named(self, role: Role) -> Spec:
        """A part that begins with its kind, or a list in parentheses."""
        if self.take("("):
            self.ends.append("+)")
            spec = self.list(role)
            self.expect(")")
            self.ends.pop()
            return spec
        name = _NAME.match(self.text, self.place)
        known = {} if name is None else kinds(role.name)
        if name is not None and (kind := known.get(name[0].replace("-", "_"))) is not None:
            return self.of_kind(kind, name[0])
        if role.wraps and name is not None and name[0].replace("-", "_") in kinds(role.wraps):
            start, inner = self.place, self.one(ROLES[role.wraps])
            return Spec(role=role.name, kind=role.wrapper, inner=(inner,), text=self.since(start))
        return self.own(role)

    def of_kind(self, kind: Kind, name: str) -> Spec:
        """A part of a kind, whose name is what comes next."""
        start = self.place
        self.place += len(name)
        if kind.called:
            inner = self.arguments(kind)
            return Spec(role=kind.role, kind=kind.name, inner=inner, text=self.since(start))
        if kind.nested:
            words = [self.word(kind) for _ in range(kind.words)]
            self.expect_inner(kind)
            role = ROLES[kind.nested[0]]
            inner = self.list(role) if kind.takes_list else self.one(role)
            argument = ":".join(words)
            return Spec(role=kind.role, kind=kind.name, argument=argument, inner=(inner,), text=self.since(start))
        argument = self.argument(kind, start)
        return Spec(role=kind.role, kind=kind.name, argument=argument, text=self.since(start))

    def arguments(self, kind: Kind) -> tuple[Spec, ...]:
        """The parts in parentheses after a kind, with commas between them."""
        inner = []
        self.ends.append("+,)")
        for number, role in enumerate(kind.nested):
            self.expect("," if number else "(")
            inner.append(self.list(ROLES[role]))
        self.expect(")")
        self.ends.pop()
        return tuple(inner)

    def word(self, kind: Kind) -> str:
        """The word after a colon, where a nested part follows it."""
        self.expect_inner(kind)
        found = re.compile(r"[^:()+]*").match(self.text, self.place)
        assert found is not None
        self.place = found.end()
        return found[0].strip()

    def expect_inner(self, kind: Kind) -> None:
        """A colon, with something behind it."""
        if not self.text.startswith(":", self.place) or not self.text[self.place + 1 :].strip(" )"):
            raise self.wrong(kind.usage)
        self.place += 1

    def argument(self, kind: Kind, start: int) -> str:
        """The rest of a part in which nothing is nested."""
        for beginning in kind.quoted:
            if self.text.startswith(beginning, start):
                self.place = start + len(beginning)
                return beginning.removeprefix(f"{kind.name}:") + self.quoted(kind)
        if not self.text.startswith(":", self.place):
            self.skip()
            return ""
        self.place += 1
        start, self.place = self.place, self.path_ahead() or self.end_of_argument()
        return self.since(start).strip()

    def quoted(self, kind: Kind) -> str:
        """Text between slashes; without them, all that follows."""
        found = _QUOTED.match(self.text, self.place)
        if found:
            self.place = found.end()
            return found[1].replace("\\/", "/")
        rest = self.text[self.place :]
        if self.ends or not rest:
            raise self.wrong(f"{kind.usage} In parentheses, the slashes are needed.")
        self.place = len(self.text)
        return rest

    def own(self, role: Role) -> Spec:
        """`package.module:name`; anything else is a mistake."""
        start, end = self.place, self.end_of_argument()
        text = self.text[start:end].strip()
        module, _, name = text.partition(":")
        if role.own and _DOTTED.fullmatch(module) and _DOTTED.fullmatch(name):
            self.place = end
            return Spec(role=role.name, kind=role.own, argument=text, text=text)
        if os.sep in text or any(kind.is_at(Path(text)) for kind in _all(role)) or _has_suffix(text, role):
            raise self.wrong(f"there is no file or directory {text!r}. {_known(role)}")
        raise self.wrong(f"there is no {role.name} {module!r}. {nearest(module, _names(role))}{_advice(role)}")

    def path(self, role: Role) -> Spec:
        """A path that exists."""
        start, self.place = self.place, self.path_ahead()
        text = self.since(start).strip()
        found = next((kind for kind in _all(role) if kind.is_at(Path(text))), None)
        if found is None:
            what = "directory" if Path(text).is_dir() else "file"
            wanted = "; ".join(f"{kind.name}: {', '.join(kind.paths)}" for kind in _all(role) if kind.paths)
            raise self.wrong(f"{text!r} is a {what} that is no {role.name}. A path may be {wanted or 'none'}.")
        if found.role == role.name:
            return Spec(role=role.name, kind=found.name, argument=text, text=text)
        inner = Spec(role=found.role, kind=found.name, argument=text, text=text)
        return Spec(role=role.name, kind=role.wrapper, inner=(inner,), text=text)

    def path_ahead(self) -> int:
        """Where the longest path that exists and begins here ends; 0 where none does."""
        ends = self.ends[-1] if self.ends else "+"
        for end in range(len(self.text), self.place, -1):
            if end < len(self.text) and self.text[end] not in ends:
                continue
            text = self.text[self.place : end].strip()
            if text and os.path.exists(text):  # noqa: PTH110 - never raises, however odd the text is
                return end
        return 0

    def end_of_argument(self) -> int:
        """Where the argument that begins here ends."""
        ends = self.ends[-1] if self.ends else "+"
        return next((i for i in range(self.place, len(self.text)) if self.text[i] in ends), len(self.text))

    def since(self, start: int) -> str:
        """What was read since a place."""
        return self.text[start : self.place].strip()

    def skip(self) -> None:
        """Go over spaces."""
        while self.text.startswith(" ", self.place):
            self.place += 1

    def take(self, sign: str) -> bool:
        """Go over a sign, if it is here."""
        self.skip()
        there = self.text.startswith(sign, self.place)
        self.place += len(sign) * there
        return there

    def expect(self, sign: str) -> None:
        """Go over a sign, which must be here."""
        if not self.take(sign):
            raise self.wrong(f"{sign!r} was expected here.")

    def wrong(self, reason: str) -> ConfigError:
        """The error that it is, with the reason and the place."""
        read, left = self.text[: self.place], self.text[self.place :]
        where = f" (read: {read!r}, left: {left!r})" if read.strip() and left else ""
        return ConfigError(f"{self.field} is {self.text!r}, but {reason}{where}")


def _all(role: Role) -> Iterable[Kind]:
    """The kinds that do in a role, its own first."""
    return [*kinds(role.name).values(), *(kinds(role.wraps).values() if role.wraps else ())]


def _names(role: Role) -> list[str]:
    return list(
        dict.fromkeys(kind.name for kind in _all(role) if kind.name not in (role.joined, role.wrapper, role.own))
    )


def _known(role: Role) -> str:
    return f"Known: {', '.join(_names(role))}.{_advice(role)}"


def _advice(role: Role) -> str:
    own = " package.module:name is something of your own;" if role.own else ""
    return f"{own} `didact list {role.name}` prints them." if role.name in ROLES else ""


def _has_suffix(text: str, role: Role) -> bool:
    suffixes = {pattern.lstrip("*") for kind in _all(role) for pattern in kind.paths if pattern.startswith("*.")}
    return Path(text).suffix.lower() in suffixes
