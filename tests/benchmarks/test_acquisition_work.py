"""The benchmark of acquisition compares sides that choose the same."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    for name in ("harness", "acquisition"):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CHOSEN", 30)
    return module


def test_the_sides_choose_the_same_and_a_difference_is_noticed(bench):
    for case in bench.cases(1000)[:3]:
        found = {name: side.run(side.prepare()) for name, side in case.sides.items()}
        case.check(found)
        with pytest.raises(AssertionError):
            case.check({**found, "didact": [-1] * bench.CHOSEN})
