"""The example of a committee, at a small size: a forest, an ONNX net and a Hugging Face model teach one student."""

import json
from pathlib import Path

import pytest


@pytest.mark.slow
def test_three_kinds_of_teachers_teach_one_student(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    import committee

    committee.run(tmp_path / "run", 240, 8, "learned", students=False)
    found = json.loads((tmp_path / "run" / "student" / "result.json").read_text())
    assert [Path(one["name"]).name for one in found["committee"]["members"]] == ["forest.skops", "net.onnx", "bert"]
    spent = [one["spent"] for one in found["committee"]["members"]]
    assert spent == [found["spent"][f"teacher.{number}"] for number in range(3)]
    assert spent[2]["teacher_tokens"] > spent[2]["teacher_calls"] == spent[0]["teacher_calls"] > 0
    shown = capsys.readouterr().out
    assert "What each teacher taught, at what cost, and what it is worth" in shown
    assert "<h2>Teachers</h2>" in (tmp_path / "run" / "student" / "report.html").read_text()
