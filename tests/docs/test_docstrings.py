"""Every public name is documented, and the check that says so sees what is not."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("check_docstrings", ROOT / "scripts" / "check_docstrings.py")
check_docstrings = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_docstrings)


def test_every_public_name_has_a_docstring():
    assert check_docstrings.undocumented(ROOT / "src" / "didact") == []


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("", ["pack.room"]),
        ('"""A room."""\ndef f(): ...', ["pack.room.f"]),
        ('"""A room."""\nasync def f(): ...', ["pack.room.f"]),
        ('"""A room."""\nclass C:\n    def m(self): ...', ["pack.room.C", "pack.room.C.m"]),
        ('"""A room."""\nclass C:\n    """Known."""\n    @property\n    def p(self): ...', ["pack.room.C.p"]),
        ('"""A room."""\nif True:\n    def f(): ...', ["pack.room.f"]),
        ('"""A room."""\nclass _C:\n    def m(self): ...\ndef _f():\n    def inner(): ...', []),
        ('"""A room."""\nclass C:\n    """Known."""\n    def __len__(self): ...', []),
        ('"""A room."""\ndef f():\n    """Known."""\n    def inner(): ...', []),
        ('"""A room."""\n@overload\ndef f(a: int): ...\ndef f(a):\n    """Known."""', []),
        ('"""A room."""\nclass C:\n    """Known."""\n    @p.setter\n    def p(self, v): ...', []),
    ],
)
def test_what_counts_as_undocumented(tmp_path, source, missing):
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text('"""A package."""')
    (package / "room.py").write_text(source)
    (package / "_private.py").write_text("def f(): ...")
    assert [line.split()[-1] for line in check_docstrings.undocumented(package)] == missing


def test_every_name_that_a_package_lists_is_there():
    """Some packages import what they list only when it is used."""
    for path in sorted((ROOT / "src" / "didact").rglob("__init__.py")):
        name = ".".join(path.parent.relative_to(ROOT / "src").parts)
        package = importlib.import_module(name)
        assert [one for one in getattr(package, "__all__", ()) if not hasattr(package, one)] == [], name
