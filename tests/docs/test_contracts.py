"""The checks of the source, which `make contracts` and `make types` call, see what they are there for."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_cycles, check_any = script("check_cycles"), script("check_any")


@pytest.fixture
def package(tmp_path):
    """A function that writes a package of three modules, of which `c` imports what is given; its graph."""

    def write(source):
        folder = tmp_path / "pack"
        (folder / "inner").mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "inner" / "__init__.py").write_text("")
        (folder / "inner" / "a.py").write_text("from pack import b")
        (folder / "b.py").write_text("import pack.c")
        (folder / "c.py").write_text(source)
        return check_cycles.imports(folder)

    return write


@pytest.mark.parametrize(
    "source",
    [
        "from pack.inner import a",
        "import pack.inner.a",
        "from pack.inner.a import name",
        "def late():\n    from pack.inner.a import name",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.inner.a import Name",
        "import importlib\ndef find(name): return importlib.import_module(f'pack.inner.{name}')",
        "from importlib import import_module\nHOMES = {'x': 'pack.inner.a'}\ndef f(x): return import_module(HOMES[x])",
    ],
)
def test_a_cycle_is_seen_wherever_the_import_stands(package, source):
    assert check_cycles.cycles(package(source)) == [["pack.b", "pack.c", "pack.inner.a"]]


@pytest.mark.parametrize("source", ["", "import os", "from pack import inner", "def f(x): return __import__('sys')"])
def test_what_is_no_cycle(package, source):
    assert check_cycles.cycles(package(source)) == []


def test_annotations_that_say_any_are_counted(tmp_path):
    (tmp_path / "a.py").write_text(
        "from typing import Any\n"
        "x: int = 1\n"
        "def f(a: Any, b: dict[str, Any], c: 'list[Any]', d: str = 'Any', *e: 'Anything') -> None: ...\n"
        "class C:\n    y: 'Any | None' = None\n    async def g(self, h) -> Any: ...\n"
    )
    found, total = check_any.count(tmp_path)
    assert (found.total(), total) == (5, 9)
