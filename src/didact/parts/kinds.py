"""What kinds of parts there are: found by their path, described without importing them.

A kind is a file `didact/parts/<role>s/<kind>.py`. Nothing is registered. The file holds

- a docstring, whose first line is its help;
- `EXAMPLE`, a spec of this kind that can be built;
- `FORM`, where it takes an argument: `mlp:WIDTH,WIDTH` takes a word, `noisy:RATE:TEACHER` a word and then a whole spec
  of a teacher, `committee:HOW:TEACHERS` a list of them, `gate(VERIFIER,VERIFIER)` two, `regex:/PATTERN/` anything
  between slashes; `|` parts alternatives. A kind whose form does not begin with its name is not written by its name;
- `PATHS`, where a path that exists stands for it: `*.onnx` is a file, `*/config.json` a directory that holds such a
  file, and `!` excludes;
- `NAMES`, where a spec of this kind names `code` or a `download`, which a file may not do;
- `build`, whose annotations say what it can be built for (see `didact.parts.part`).
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
"""Characters of a spec that messages show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a part is in a run."""

    name: str
    """As a field of a run has it, such as `teacher`."""
    package: str
    """Where its kinds lie, one file each."""
    joined: str = ""
    """The kind that `A+B` is; empty where only one part makes sense."""
    wraps: str = ""
    """Another role whose kinds do here too."""
    wrapper: str = ""
    """The kind that makes one of these of a part of that other role."""
    own: str = ""
    """The kind that `package.module:name` is."""


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
    )
}
"""The roles that a spec can be written for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A part in words, as a tree."""

    role: str
    """One of `ROLES`."""
    kind: str
    """The name of a file in that role's folder."""
    field: str
    """What it was given for, for messages."""
    argument: str = ""
    """What stands after the kind: a word, the rest where nothing is nested, or the path."""
    inner: tuple["Spec", ...] = ()
    """The specs that are nested in it."""
    weight: float = 1.0
    """What stood before it, as in `0.1*length:512`."""
    text: str = ""
    """As it was written, without the weight."""

    def __str__(self) -> str:
        """As it was written."""
        return self.text

    def walk(self) -> Iterator["Spec"]:
        """It, and all that is nested in it."""
        yield self
        for one in self.inner:
            yield from one.walk()

    def wrong(self, reason: str = "") -> ConfigError:
        """The error that it is, with the reason as the end of a sentence; by default how one of its kind is written."""
        return ConfigError(f"{self.named}, but {reason or find(self.role, self.kind).usage}")

    @property
    def named(self) -> str:
        """What it was given for and what it is, as the beginning of a message."""
        text = self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}..."
        return f"{self.field} is {text!r}"

    @property
    def members(self) -> tuple["Spec", ...]:
        """The parts of `A+B`; itself where there is no `+`."""
        joined = ROLES[self.role].joined
        return self.inner if joined and self.kind == joined and not self.argument else (self,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of part, as its file describes it; nothing of it is imported."""

    role: str
    name: str
    path: Path
    help: str
    """The first line of its docstring."""
    description: str
    """The whole docstring."""
    form: str
    """How a spec of it is written."""
    example: str
    paths: tuple[str, ...] = ()
    """Patterns of the paths that stand for it; see this module."""
    names: str = ""
    """`code` or `download`, where a spec of it names such."""
    materials: tuple[str, ...] = ()
    """What it can be built for, such as `examples` and `questions`; empty where that makes no difference."""

    named: bool = True
    """Whether a spec of it begins with its name."""
    nested: tuple[str, ...] = ()
    """The roles of the specs nested in one of it."""
    takes_list: bool = False
    """Whether what is nested may be several parts with `+`, as in `committee:logit:A+B`."""
    called: bool = False
    """Whether what is nested stands in parentheses, as in `gate(A,B)`."""
    words: int = 0
    """How many words stand between its name and what is nested."""
    quoted: tuple[str, ...] = ()
    """The beginnings after which anything may follow, between slashes or to the end, such as `regex:`."""

    @property
    def usage(self) -> str:
        """How a spec of it is written, as the end of a message."""
        return f"{self.name} is written {self.form.replace(' | ', ' or ')}, such as {self.example}."

    def is_at(self, path: Path) -> bool:
        """Whether a path that exists stands for a part of this kind."""
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
        """Import its file."""
        return importlib.import_module(f"{ROLES[self.role].package}.{self.name}")


def kinds(role: str) -> dict[str, Kind]:
    """The kinds of a role, by name, in alphabetical order; nothing is imported.

    Args:
        role: one of `ROLES`.

    Raises:
        ConfigError: Another role, or a file that is not as this module says.
    """
    check_choice("role", role, ROLES)
    folders = importlib.import_module(ROLES[role].package).__path__
    found = {module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_")}
    paths = {name: next(p for folder in folders if (p := Path(folder) / f"{name}.py").is_file()) for name in found}
    return {name: _described(role, paths[name], paths[name].stat().st_mtime_ns) for name in sorted(paths)}


def find(role: str, name: str) -> Kind:
    """A kind by its name; `-` and `_` are the same.

    Raises:
        ConfigError: There is none of that name.
    """
    known, plain = kinds(role), name.replace("-", "_")
    check_choice(role, plain, known)
    return known[plain]


@cache
def _described(role: str, path: Path, _modified: int) -> Kind:
    _, tree = parse_file(path)
    description = ast.get_docstring(tree) or ""
    stated = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    said = {name: ast.literal_eval(stated[name]) for name in ("EXAMPLE", "FORM", "PATHS", "NAMES") if name in stated}
    forms = said.get("FORM", path.stem).split(" | ")
    words = [word.lower().removesuffix("s") for word in re.findall(r"[A-Z]+", forms[0])]
    nested = tuple(word for word in words if word in ROLES)
    return Kind(
        role=role,
        name=path.stem,
        path=path,
        help=description.partition("\n")[0],
        description=description,
        form=" | ".join(forms),
        example=said.get("EXAMPLE", path.stem),
        paths=said.get("PATHS", ()),
        names=said.get("NAMES", ""),
        materials=_materials(tree),
        named=forms[0].startswith(path.stem),
        nested=nested,
        takes_list=bool(nested) and forms[0].endswith("S"),
        called=bool(nested) and "(" in forms[0],
        words=forms[0].count(":") - 1,
        quoted=tuple(form[: form.index("/")] for form in forms if "/" in form),
    )


def _materials(tree: ast.Module) -> tuple[str, ...]:
    """What `build` can be built for, by the annotation of `purpose`: `ForExamples` is `examples`."""
    build = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    said = [ast.unparse(a.annotation) for a in build.args.args if a.arg == "purpose" and a.annotation is not None]
    return tuple(word.lower() for word in re.findall(r"For([A-Z][a-z]+)", " ".join(said)))
