"""The catalogue of methods: found by their path, described without importing them.

A method is a file `didact/methods/<family>/<name>.py` that holds a frozen dataclass `Config` and exactly one subclass
of `didact.types.Method`. Nothing is registered. A user's own method is named by its module (`package.module`) or its
file (`path/to/method.py`). A published system that only composes what is there is a recipe: a file of TOML in
`didact/recipes`. Listing and describing read the files as text, so that they cost no import of torch.
"""

import ast
import dataclasses
import importlib
import importlib.util
import sys
import types
import typing
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from didact import trusting
from didact.claiming import Claim
from didact.documents import Document, Values, parse_toml, read_text
from didact.errors import ConfigError, check_choice, nearest
from didact.options import PACKAGE, Option, convert, lineage, parse, read_options

METHODS = Path(__file__).parent / "methods"
"""The folder of the methods, with one subfolder per family."""
RECIPES = Path(__file__).parent / "recipes"
"""The folder of the recipes: files of TOML that compose what is there, each with a claim."""


@dataclass(frozen=True)
class CatalogueEntry:
    """The description of a file that may carry a claim: a method, a recipe, or another module."""

    name: str
    family: str
    """Its folder; `yours` for a method from elsewhere."""
    module: str
    """The importable name, or the file's path if it has none."""
    path: Path
    title: str
    """The first line of its docstring."""
    description: str
    """The whole docstring."""

    @cached_property
    def claim(self) -> Claim | None:
        """Its claim, read from its file without running it; None if it has none."""
        return _read_recipe(self.path)[1] if self.path.suffix == ".toml" else _read_claim(self.path)

    @property
    def kind(self) -> str:
        """`method`, `study` for another module, or what a recipe says: `recipe`, `variant` or `study`."""
        return _read_recipe(self.path)[0]["kind"] if self.path.suffix == ".toml" else "study"


@dataclass(frozen=True)
class MethodInfo(CatalogueEntry):
    """The description of a method; its file is imported when `config_type` or `method_type` is first read."""

    options: tuple[Option, ...]

    @property
    def kind(self) -> str:
        """`method`."""
        return "method"

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Its requirements besides a student, such as labels, a teacher or a verifier."""
        return _read_needs(self.path)

    @cached_property
    def feed(self) -> Values:
        """Its feed, read from its file without running it: the feed's name as `kind`, and its fields."""
        return _read_feed(self.path)

    @cached_property
    def material(self) -> str:
        """The material of its feed: `examples`, `questions`, `environments` or `tasks`."""
        return _materials()[self.feed["kind"]]

    @cached_property
    def use(self) -> str:
        """The flags that a run of its material requires, such as those of the data."""
        path = PACKAGE / "materials" / self.material / "__init__.py"
        stated = [pair for node in parse(path)[1].body for pair in _assigned(node)] if path.exists() else []
        return next((ast.literal_eval(value) for name, value in stated if name == "USE"), "")

    @cached_property
    def _module(self) -> types.ModuleType:
        if self.module.endswith(".py"):
            return _import_file(self.path)
        return importlib.import_module(self.module)

    @cached_property
    def config_type(self) -> type:
        """Its `Config`."""
        found = getattr(self._module, "Config", None)
        if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
            raise ConfigError(f"The method {self.name!r} has no dataclass named Config in {self.path}; add one.")
        return found

    @cached_property
    def method_type(self) -> type[Any]:
        """Its subclass of `didact.types.Method`."""
        from didact.types import Method

        found = [
            value
            for value in vars(self._module).values()
            if isinstance(value, type) and issubclass(value, Method) and value.__module__ == self._module.__name__
        ]
        if len(found) != 1:
            names = ", ".join(cls.__name__ for cls in found) or "none"
            raise ConfigError(f"A method's file holds exactly one subclass of Method; {self.path} holds {names}.")
        return found[0]


def names() -> tuple[str, ...]:
    """The names of didact's methods, in alphabetical order."""
    return tuple(sorted(_paths()))


def listing() -> tuple[MethodInfo, ...]:
    """All of didact's methods, by family and name, without importing any."""
    found = [
        _describe(path, name, path.parent.name, f"didact.methods.{path.parent.name}.{name}")
        for name, path in _paths().items()
    ]
    return tuple(sorted(found, key=lambda info: (info.family, info.name)))


def find(name: str) -> MethodInfo:
    """Find a method by its name, its importable module, or the path of its file.

    Args:
        name: such as `distill`, `my_package.my_method` or `./my_method.py`; `-` and `_` are equal in a name.

    Returns:
        Its description; nothing is imported yet.

    Raises:
        ConfigError: there is no such method; the nearest names are suggested.
    """
    paths = _paths()
    plain = name.replace("-", "_")
    if plain in paths:
        path = paths[plain]
        return _describe(path, plain, path.parent.name, f"didact.methods.{path.parent.name}.{plain}")
    if name.endswith(".py"):
        trusting.check(name, "code")
        path = Path(name)
        if not path.is_file():
            raise ConfigError(
                f"The method's file {name!r} does not exist. Give the path of a file, or one of: {', '.join(names())}."
            )
        return _describe(path.resolve(), path.stem, "yours", str(path.resolve()))
    if "." in name:
        trusting.check(name, "code")
        return _describe(_module_path(name), name.rpartition(".")[2], "yours", name)
    raise ConfigError(f"There is no method {name!r}. {nearest(plain, paths)}")


def recipes() -> tuple[CatalogueEntry, ...]:
    """All recipes, variants and studies, by name.

    They are the files of `didact/recipes`, and didact's modules outside of `methods` that state a `CLAIM`.
    """
    found = [_described_recipe(path) for path in RECIPES.glob("*.toml")]
    found += [_described_module(path) for path in PACKAGE.rglob("*.py") if _states_claim(path, path.stat().st_mtime_ns)]
    return tuple(sorted(found, key=lambda entry: entry.name))


def find_claim(name: str) -> CatalogueEntry:
    """Find what may carry a claim: a recipe or a module of `recipes`, or else a method.

    Args:
        name: of a recipe or of a method; `-` and `_` are equal in it. See `find`.

    Raises:
        ConfigError: there is neither; the nearest names are suggested.
    """
    plain = name.replace("-", "_")
    if plain in _paths() or "." in name:
        return find(name)
    known = {entry.name: entry for entry in recipes()}
    if plain in known:
        return known[plain]
    raise ConfigError(f"There is no method or recipe {name!r}. {nearest(plain, {**known, **_paths()})}")


def build_config(info: MethodInfo, options: Values) -> Any:
    """Build a method's `Config` from options of the command line or of a file.

    Args:
        info: the method.
        options: by name; strings are converted by the field's annotation.

    Returns:
        An instance of the method's `Config`, checked by its own `__post_init__`.

    Raises:
        ConfigError: an option is unknown, missing or cannot be converted, or `Config` refuses it.
    """
    config_type = info.config_type
    fields = {field.name: field for field in dataclasses.fields(config_type) if field.init}
    hints = typing.get_type_hints(config_type)
    for name in options:
        if name not in fields:
            raise ConfigError(f"The method {info.name!r} has no option {name!r}. {nearest(name, fields)}")
    for name, field in fields.items():
        if name not in options and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"The method {info.name!r} needs a value for its option {name!r}.")
    return config_type(**{name: convert(name, value, hints[name]) for name, value in options.items()})


@cache
def _paths() -> dict[str, Path]:
    """The files of didact's methods by name, which must be unique."""
    found: dict[str, Path] = {}
    for path in sorted(METHODS.glob("*/*.py")):
        if path.name.startswith("_") or path.parent.name.startswith("_"):
            continue
        if path.stem in found:
            raise ConfigError(f"Two methods are named {path.stem!r}: {found[path.stem]} and {path}. Rename one.")
        found[path.stem] = path
    return found


def _describe(path: Path, name: str, family: str, module: str) -> MethodInfo:
    return _described(path, name, family, module, path.stat().st_mtime_ns if path.exists() else 0)


@cache
def _described(path: Path, name: str, family: str, module: str, _modified: int) -> MethodInfo:
    description = ast.get_docstring(parse(path)[1]) or ""
    title = description.strip().splitlines()[0] if description.strip() else ""
    return MethodInfo(
        name=name,
        family=family,
        module=module,
        path=path,
        title=title,
        description=description,
        options=read_options(path),
    )


def _read_claim(path: Path) -> Claim | None:
    """The `CLAIM` at the end of a method's file.

    Raises:
        ConfigError: an argument is not a literal, or the claim refuses them.
    """
    for node in parse(path)[1].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CLAIM":
            if not isinstance(node.value, ast.Call):
                raise ConfigError(f"CLAIM in {path} is {ast.unparse(node.value)}, but must be Claim(...).")
            words = {word.arg or "**": _literal(path, word) for word in node.value.keywords}
            try:
                return Claim(**words)
            except TypeError as error:
                raise ConfigError(f"The claim in {path} cannot be made: {error}.") from None
    return None


_RECIPE = ("title", "kind", "description", "formula", "mechanism", "claim")
_RECIPE_KINDS = ("recipe", "variant", "study")
_TUPLES = ("seeds", "tuned_on", "systems")
"""The fields of a claim that are tuples, which TOML does not have."""


def _read_recipe(path: Path) -> tuple[Document, Claim]:
    """A recipe's file, and its claim.

    Raises:
        ConfigError: it is no TOML, a field is unknown or missing, or the claim refuses its fields.
    """
    try:
        found = parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"The recipe {path} cannot be read: {error}.") from None
    for field in found:
        check_choice(f"A field of the recipe {path}", field, _RECIPE)
    missing = [field for field in _RECIPE if field not in found]
    if missing:
        raise ConfigError(f"The recipe {path} has no {missing[0]}; give one.")
    check_choice(f"The kind of the recipe {path}", found["kind"], _RECIPE_KINDS)
    words: Document = {name: tuple(value) if name in _TUPLES else value for name, value in found["claim"].items()}
    try:
        return found, Claim(**words)
    except TypeError as error:
        raise ConfigError(f"The claim in {path} cannot be made: {error}.") from None


def _described_recipe(path: Path) -> CatalogueEntry:
    found = _read_recipe(path)[0]
    words = f"{found['title']}\n\n{found['description'].strip()}"
    return CatalogueEntry(path.stem, "recipes", str(path), path, found["title"], words)


def _described_module(path: Path) -> CatalogueEntry:
    words = ast.get_docstring(parse(path)[1]) or ""
    module = ".".join([PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts])
    return CatalogueEntry(path.stem, path.parent.name, module, path, words.partition("\n")[0], words)


@cache
def _states_claim(path: Path, _modified: int) -> bool:
    """Whether a module of didact's that is no method has a claim."""
    return METHODS not in path.parents and "\nCLAIM = Claim(" in path.read_text(encoding="utf-8")


def _literal(path: Path, word: ast.keyword) -> Any:
    try:
        return ast.literal_eval(word.value)
    except ValueError:
        raise ConfigError(
            f"The claim's {word.arg} in {path} is {ast.unparse(word.value)}, but must be written out in words, "
            "numbers, tuples and dictionaries: it is read without running the file."
        ) from None


def _read_feed(path: Path) -> Document:
    """The `feed` that a method's class states.

    Raises:
        ConfigError: it is not a feed with literal fields.
    """
    stated = ast.parse(_stated(path)["feed"], mode="eval").body
    kind = ast.unparse(stated.func).rpartition(".")[2] if isinstance(stated, ast.Call) else ""
    if not isinstance(stated, ast.Call) or kind not in _materials():
        raise ConfigError(
            f"feed in {path} is {ast.unparse(stated)}, but must be one of {', '.join(_materials())}, as in "
            "ExampleFeed(unlabelled=True)."
        )
    try:
        return {"kind": kind, **{str(word.arg): _value(word.value) for word in stated.keywords}}
    except ValueError:
        raise ConfigError(
            f"feed in {path} is {ast.unparse(stated)}, but must be written out in words, numbers, tuples and "
            "dictionaries: it is read without running the file."
        ) from None


def _value(node: ast.expr) -> Any:
    """A literal, a fraction of literals, or another feed."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _value(node.left) / _value(node.right)
    if isinstance(node, ast.Call):
        return {"kind": ast.unparse(node.func), **{str(word.arg): _value(word.value) for word in node.keywords}}
    return ast.literal_eval(node)


@cache
def _materials() -> dict[str, str]:
    """The material of each feed, by the feed's name."""
    _, tree = parse(Path(__file__).parent / "types" / "feeds.py")
    stated = {
        node.name: dict(pair for line in node.body for pair in _assigned(line))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    return {name: ast.literal_eval(fields["material"]) for name, fields in stated.items()}


def _bodies(path: Path) -> list[list[ast.stmt]]:
    """The bodies of a method's class and of those that it extends, down to `Method`, nearest first."""
    for node in parse(path)[1].body:
        found = lineage(path, node.name) if isinstance(node, ast.ClassDef) else []
        if any(one.name == "Method" for _, one in found[1:]):
            return [one.body for _, one in found]
    return [one.body for _, one in lineage(PACKAGE / "types" / "methods.py", "Method")]


def _stated(path: Path) -> dict[str, str]:
    """The attributes of a method's class, as expressions."""
    return {name: value for body in reversed(_bodies(path)) for node in body for name, value in _assigned(node)}


def _read_needs(path: Path) -> tuple[str, ...]:
    tree, feed = parse(path)[1], _read_feed(path)
    made = next(node for body in _bodies(path) for node in body if _is_init(node))
    taken = set(_required(made.args))
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    taps = {ast.unparse(one) for one in called if isinstance(one, ast.Attribute) and one.attr == "tap"}
    found = {
        "labels": feed["kind"] == "ExampleFeed",
        "prompts": feed["kind"] == "RolloutFeed",
        "prompts with completions to learn from": feed["kind"] == "CompletionFeed" and not feed.get("pairs"),
        "prompts with a chosen and a rejected completion": bool(feed.get("pairs")),
        "teacher": "teacher" in taken,
        "teacher's features": bool(taps & {"teacher.tap", "self.teacher.tap"}),
        "learner's features": bool(taps & {"learner.tap", "self.learner.tap"}),
        "further learners": "spawn" in taken,
        "unlabelled examples": feed.get("unlabelled", False),
        "augmented views": bool(feed.get("views")),
        "verifier": feed.get("rewards") == "verifier",
    }
    return tuple(name for name, there in found.items() if there)


def _is_init(node: ast.stmt) -> typing.TypeGuard[ast.FunctionDef]:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _required(arguments: ast.arguments) -> list[str]:
    """The arguments without a default; the others are optional."""
    plain = arguments.args[: len(arguments.args) - len(arguments.defaults)]
    named = [word for word, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    return [argument.arg for argument in (*plain, *named)]


def _assigned(node: ast.stmt) -> list[tuple[str, str]]:
    """The names that a statement assigns, each with the expression."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return [(ast.unparse(node.target), ast.unparse(node.value))]
    return [(ast.unparse(t), ast.unparse(node.value)) for t in node.targets] if isinstance(node, ast.Assign) else []


def _module_path(name: str) -> Path:
    """The file of an importable module; its parent packages are imported, the module is not."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise ConfigError(
            f"There is no method {name!r}: no such module can be imported from here. {nearest(name, names())}"
        )
    return Path(spec.origin)


def _import_file(path: Path) -> types.ModuleType:
    name = f"didact_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"The method's file {path} cannot be imported as a module.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up their module here during their creation.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
