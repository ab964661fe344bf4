"""The kinds of parts, found by their path and described without importing them.

A kind is a file `didact/parts/<role>s/<kind>.py`; there is no registry. The file contains

- a docstring, whose first line is its help;
- `EXAMPLE`, a spec of this kind that can be built;
- `FORM`, if it takes an argument: `mlp:WIDTH,WIDTH` takes a word, `noisy:RATE:TEACHER` a word and then a whole spec of
  a teacher, `committee:HOW:TEACHERS` a list of them, `gate(VERIFIER,VERIFIER)` two, `regex:/PATTERN/` anything between
  slashes; `|` separates alternatives. A kind whose form does not start with its name is not selected by its name;
- `PATHS`, if an existing path selects it: `*.onnx` is a file, `*/config.json` a directory with such a file, and
  `!` excludes;
- `NAMES`, if a spec of this kind names `code` or a `download`, which an untrusted file may not do;
- `build`, whose annotations state the materials that it can be built for (see `didact.parts.part`).
"""

import ast
import importlib
import pkgutil
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from didact.errors import ConfigError, check_choice
from didact.options import parse as parse_file

SHOWN = 200
"""Maximal number of characters of a spec in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The role of a part in a run."""

    name: str
    """The name of the field in a run, such as `teacher`."""
    package: str
    """The package of its kinds, one file each."""
    joined: str = ""
    """The kind of `A+B`; empty if only one part is allowed."""
    wraps: str = ""
    """Another role whose kinds are allowed too."""
    wrapper: str = ""
    """The kind that wraps a part of that other role."""
    own: str = ""
    """The kind of `package.module:name`."""


ROLES = {
    role.name: role
    for role in (
        Role(name="student", package="didact.parts.students", own="own"),
        Role(
            name="teacher",
            package="didact.parts.teachers",
            joined="committee",
            wraps="student",
            wrapper="model",
            own="own",
        ),
        Role(name="verifier", package="didact.parts.verifiers", joined="sum", own="own"),
        Role(name="environment", package="didact.parts.environments", own="own"),
    )
}
"""The roles of specs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A parsed spec, as a tree."""

    role: str
    """One of `ROLES`."""
    kind: str
    """The name of the kind, a file in that role's folder."""
    field: str
    """The name of the option, for messages."""
    argument: str = ""
    """The text after the kind: a word, the rest if nothing is nested, or the path."""
    inner: tuple["Spec", ...] = ()
    """The nested specs."""
    weight: float = 1.0
    """The weight before it, as in `0.1*length:512`."""
    text: str = ""
    """The source text, without the weight."""

    def __str__(self) -> str:
        """The source text, without the weight."""
        return self.text

    def walk(self) -> Iterator["Spec"]:
        """The spec itself and all nested ones."""
        yield self
        for one in self.inner:
            yield from one.walk()

    def error(self, reason: str = "") -> ConfigError:
        """An error with the reason as the end of a sentence; by default the form of its kind."""
        return ConfigError(f"{self.subject}, but {reason or find(self.role, self.kind).usage}")

    @property
    def subject(self) -> str:
        """Option and value, as the start of a message."""
        text = self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}..."
        return f"{self.field} is {text!r}"

    @property
    def members(self) -> tuple["Spec", ...]:
        """The parts of `A+B`; the spec itself if there is no `+`."""
        joined = ROLES[self.role].joined
        return self.inner if joined and self.kind == joined and not self.argument else (self,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of part, described by its file without importing it."""

    role: str
    name: str
    path: Path
    help: str
    """The first line of its docstring."""
    description: str
    """The whole docstring."""
    form: str
    """The form of its specs."""
    example: str
    paths: tuple[str, ...] = ()
    """Patterns of paths that select it; see this module."""
    names: str = ""
    """`code` or `download` if its specs name such."""
    materials: tuple[str, ...] = ()
    """The materials that it can be built for, such as `examples` and `questions`; empty for all."""

    named: bool = True
    """Whether its specs start with its name."""
    nested: tuple[str, ...] = ()
    """The roles of its nested specs."""
    takes_list: bool = False
    """Whether the nested spec may be a list with `+`, as in `committee:logit:A+B`."""
    called: bool = False
    """Whether the nested specs are in parentheses, as in `gate(A,B)`."""
    words: int = 0
    """The number of words between its name and the nested spec."""
    quoted: tuple[str, ...] = ()
    """Prefixes that are followed by any text, between slashes or to the end, such as `regex:`."""

    @property
    def usage(self) -> str:
        """The form of its specs, as the end of a message."""
        return f"{self.name} is written {self.form.replace(' | ', ' or ')}, such as {self.example}."

    def is_at(self, path: Path) -> bool:
        """Whether an existing path selects this kind."""
        found = False
        for pattern in self.paths:
            name = pattern.removeprefix("!")
            inside = name.removeprefix("*/")
            fits = (path / inside).is_file() if name != inside else path.is_file() and fnmatch(path.name.lower(), name)
            if fits and name != pattern:
                return False
            found = found or fits
        return found

    def load(self) -> types.ModuleType:
        """Import the file of the kind."""
        return importlib.import_module(f"{ROLES[self.role].package}.{self.name}")


def kinds(role: str) -> dict[str, Kind]:
    """The kinds of a role, by name, in alphabetical order; nothing is imported.

    Args:
        role: one of `ROLES`.

    Raises:
        ConfigError: The role is unknown, or a file has not the required contents.
    """
    check_choice("role", role, ROLES)
    folders = tuple(importlib.import_module(ROLES[role].package).__path__)
    paths = _paths(folders, tuple(Path(folder).stat().st_mtime_ns for folder in folders))
    return {name: _described(role, path, path.stat().st_mtime_ns) for name, path in paths.items()}


def find(role: str, name: str) -> Kind:
    """A kind by its name; `-` and `_` are the same.

    Raises:
        ConfigError: There is no such kind.
    """
    known, plain = kinds(role), name.replace("-", "_")
    check_choice(role, plain, known)
    return known[plain]


@cache
def _paths(folders: tuple[str, ...], _modified: tuple[int, ...]) -> dict[str, Path]:
    """The files of kinds by name, sorted."""
    found = sorted(module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_"))
    return {name: next(p for folder in folders if (p := Path(folder) / f"{name}.py").is_file()) for name in found}


@cache
def _described(role: str, path: Path, _modified: int) -> Kind:
    _, tree = parse_file(path)
    description = ast.get_docstring(tree) or ""
    stated = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    constants = {
        name: ast.literal_eval(stated[name]) for name in ("EXAMPLE", "FORM", "PATHS", "NAMES") if name in stated
    }
    forms = constants.get("FORM", path.stem).split(" | ")
    words = [word.lower().removesuffix("s") for word in re.findall(r"[A-Z]+", forms[0])]
    nested = tuple(word for word in words if word in ROLES)
    build = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    # `purpose: ForExamples` is for the material `examples`.
    purpose = " ".join(ast.unparse(a.annotation) for a in build.args.args if a.arg == "purpose" and a.annotation)
    return Kind(
        role=role,
        name=path.stem,
        path=path,
        help=description.partition("\n")[0],
        description=description,
        form=" | ".join(forms),
        example=constants.get("EXAMPLE", path.stem),
        paths=constants.get("PATHS", ()),
        names=constants.get("NAMES", ""),
        materials=tuple(word.lower() for word in re.findall(r"For([A-Z][a-z]+)", purpose)),
        named=forms[0].startswith(path.stem),
        nested=nested,
        takes_list=bool(nested) and forms[0].endswith("S"),
        called=bool(nested) and "(" in forms[0],
        words=forms[0].count(":") - 1,
        quoted=tuple(form[: form.index("/")] for form in forms if ":/" in form),
    )
