"""What README and the documentation show can be typed: their commands parse, and their Python runs."""

import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _blocks(page, kind):
    return re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.DOTALL)


def _commands(*pages):
    for page in pages or PAGES:
        for block in _blocks(page, "console"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                # The worked example's method is not in the tree.
                if line.startswith("$ didact ") and "annealing-kd" not in words:
                    yield pytest.param(words[1:], id=" ".join(words))


@pytest.mark.parametrize("words", list(_commands()))
def test_commands_parse(words, tmp_path, monkeypatch):
    from didact.cli import parser

    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text('data = "digits"\n')
    parser.command_parser(words[0], words[1:]).parse_args(words[1:])


def test_there_are_commands():
    assert len(list(_commands())) > 10


def _short(code):
    """The same code with a smaller teacher and fewer steps."""
    found = code.replace("cnn:32,64", "mlp:8").replace("steps=500", "steps=3")
    assert found != code
    return found


@pytest.mark.parametrize(("page", "number"), [("README.md", 1), ("README.md", 2)])
def test_the_readme_runs(page, number):
    exec(compile(_short(_blocks(ROOT / page, "python")[number]), page, "exec"), {})


@pytest.mark.parametrize("number", [0, 1])
def test_getting_started_runs(number):
    page = ROOT / "docs" / "getting-started.md"
    exec(compile(_short(_blocks(page, "python")[number]), page.name, "exec"), {})


def test_the_examples_of_the_guides_run():
    """A data set from tensors, and a teacher that is made of rules."""
    found = {}
    exec(compile(_blocks(ROOT / "docs" / "guides" / "data.md", "python")[0], "data.md", "exec"), found)
    exec(compile(_blocks(ROOT / "docs" / "guides" / "teacher.md", "python")[2], "teacher.md", "exec"), found)
    batch = found["examples"].batch().check()
    signal = found["Rules"]().signal(batch)
    assert signal.labels.tolist() == [int(x > 2) for x in batch["x"][:, 0].tolist()]
    assert signal.trust.tolist() == [float(abs(x) > 2) for x in batch["x"][:, 0].tolist()]


def test_a_function_teaches_as_the_guide_shows():
    import pandas

    cities = ["Oslo", "Rome", "Cairo"] * 20
    found = {"table": pandas.DataFrame({"city": cities, "age": range(60), "label": ["yes", "no", "no"] * 20})}
    source = _blocks(ROOT / "docs" / "guides" / "teacher.md", "python")[1]
    exec(compile(source.replace("steps=500", "steps=2"), "teacher.md", "exec"), found)
    assert found["result"].teacher["accuracy"] == 1.0


def test_the_guide_to_scikit_learn_runs():
    page, found = ROOT / "docs" / "guides" / "sklearn.md", {}
    source = _blocks(page, "python")[0].replace("steps=500", "steps=60").replace("n_estimators=300", "n_estimators=10")
    exec(compile(source, page.name, "exec"), found)
    assert found["scores"].mean() > 0.6
    assert found["distiller"].score(found["X"], found["y"]) > 0.8


def test_the_guide_to_language_models_runs():
    page = ROOT / "docs" / "guides" / "language_models.md"
    found = {}
    exec(compile(_blocks(page, "python")[0].replace("steps=500", "steps=2"), page.name, "exec"), found)
    assert {"nll", "length", "finished"} == set(found["result"].metrics)


def test_the_readme_replaces_a_forest_honestly(tmp_path, monkeypatch, capsys):
    """The recipe as it is written, on a table of noisy labels: the forest's figure is that of rows it never saw."""
    import numpy as np
    import pandas

    from didact.cli import main

    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 3)).round(4)
    table = pandas.DataFrame(x, columns=["a", "b", "c"])
    table["label"] = np.where(x[:, 0] + generator.normal(size=400) > 0, "yes", "no")
    table.to_csv("table.csv", index=False)
    page = ROOT / "README.md"
    split, distill = (
        next(words for words in (param.values[0] for param in _commands(page)) if words[0] == name)
        for name in ("split", "distill")
    )
    assert main(split) == 0
    made = {}
    exec(compile(_blocks(page, "python")[0], page, "exec"), made)
    assert main([*distill, "--steps", "20", "--no-progress", "--out", "run"]) == 0
    found = json.loads(Path("run/result.json").read_text())
    test = pandas.read_csv("data/test.csv")
    score = made["forest"].score(test.drop(columns="label"), test["label"])
    assert found["teacher_seen"] == 0
    assert found["teacher"]["accuracy"] == pytest.approx(score)
    train = pandas.read_csv("data/train.csv")
    assert score < 0.8 < made["forest"].score(train.drop(columns="label"), train["label"])
