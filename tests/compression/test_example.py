"""The example goes the whole way on a small table, and fails where the exported student says something else."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PATH = Path(__file__).parents[2] / "examples" / "compress_table.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("compress_table", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_as_messy_as_it_says(example):
    table = example.make_table(5000)
    assert np.mean(table.churned == "yes") == pytest.approx(0.03, abs=0.002)
    assert table.postcode.str.startswith("0").all()
    assert pd.to_datetime(table.joined.dropna()).nunique() > 1000
    assert all(0.02 < table[name].isna().mean() < 0.06 for name in ("age", "income", "city", "joined"))


@pytest.mark.slow
def test_the_whole_way(example, tmp_path, capsys, monkeypatch):
    small = ("--students", "tree:8", "mlp:4", "--steps", "30", "--seeds", "0", "--made-up", "0")
    assert example.run(tmp_path / "done", 1500, *small) == 0
    said = capsys.readouterr().out
    assert "300 rows answered by onnxruntime alone" in said
    assert "never seen" in (tmp_path / "done" / "odd.csv").read_text()
    monkeypatch.setattr(example, "didact", lambda *words: None)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    # The same files again, with an answer that is another.
    answers = pd.read_csv(tmp_path / "done" / "answers.csv")
    answers.loc[17, "probability of yes"] += 2e-5
    answers.to_csv(tmp_path / "done" / "answers.csv", index=False)
    assert example.run(tmp_path / "done", 1500, *small) == 1
    assert "1 rows are more than" in capsys.readouterr().err
