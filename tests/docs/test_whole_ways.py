"""The examples that go from files to a student in production, on less data."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def _load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "steps"), [("images", 28, 60), ("regression", 1_500, 300)])
def test_onnxruntime_alone_answers_as_predict_does(name, size, steps, tmp_path):
    assert _load(name).run(tmp_path / "out", size, steps) == 0


@pytest.mark.slow
def test_other_answers_end_the_example_with_a_failure(tmp_path, monkeypatch, capsys):
    module = _load("regression")
    monkeypatch.setattr(module, "answer_alone", lambda graph, rows: np.full(len(rows), 3e5))
    assert module.run(tmp_path / "out", 1_500, 50) == 1
    assert "spreads apart" in capsys.readouterr().err
