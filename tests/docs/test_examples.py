"""What README and the documentation show can be typed: their commands parse, and their Python runs."""

import json
import re
import shlex
import shutil
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


@pytest.fixture
def customers(tmp_path, monkeypatch):
    """A table of numbers, words and gaps, whose labels are noisy, in an empty folder; and files of some of its rows."""
    import numpy as np
    import pandas

    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 2)).round(4)
    table = pandas.DataFrame(x, columns=["a", "b"]).assign(city=generator.choice(["Oslo", "Rome"], 400))
    table["label"] = np.where(x[:, 0] + (table["city"] == "Oslo") + generator.normal(size=400) > 0.5, "yes", "no")
    table.loc[::20, "b"] = np.nan
    table.to_csv("table.csv", index=False)
    table[:50].to_csv("labelled.csv", index=False)
    table[:50].drop(columns="label").to_csv("new.csv", index=False)
    return table


SHORT = {
    "doctor": ["--steps", "20"],
    "distill": ["--steps", "20", "--no-progress"],
    "compare": ["--steps", "5", "--no-progress", "--baselines", "none", "--seeds", "0-1"],
}
"""What is added to commands, so that they take seconds."""


@pytest.mark.slow
def test_the_way_from_a_table_to_a_deployed_student(customers, capsys):
    """Every command of the page in its order; the graph answers raw rows as `didact predict` does."""
    import numpy
    import onnxruntime
    import pandas

    from didact.cli import main

    page = ROOT / "docs" / "guides" / "table.md"
    (source,) = _blocks(page, "python")
    commands = [param.values[0] for param in _commands(page)]
    names = [words[0] for words in commands]
    assert names == ["split", "doctor", "distill", "compare", "evaluate", "predict", "export"]
    assert main(commands[0]) == 0
    exec(compile(source.replace("n_estimators=300", "n_estimators=9"), page.name, "exec"), {})
    for words in commands[1:]:
        assert main([*words, *SHORT.get(words[0], [])]) == 0, words
    assert "random" in capsys.readouterr().out
    answers, rows = pandas.read_csv("answers.csv"), pandas.read_csv("new.csv")
    feed = {name: rows[[name]].to_numpy(dtype=object if name == "city" else float) for name in rows}
    probabilities, labels = onnxruntime.InferenceSession("student.onnx").run(None, feed)
    assert labels.tolist() == answers["prediction"].tolist()
    assert numpy.abs(probabilities - answers[["probability of no", "probability of yes"]].to_numpy()).max() < 1e-5


SMALLER = {"cnn:64,128": "mlp:8", "cnn:32,64": "mlp:8", "cnn:16,32": "mlp:4", "cnn:8,16": "mlp:4", "64": "16"}
"""What stands for parts and sizes in commands, so that they take seconds."""


def _run_all(page):
    from didact.cli import main

    for param in _commands(page):
        words = [SMALLER.get(word, word) for word in param.values[0]]
        words = [word.replace("cnn:32,64", "mlp:8") for word in words]
        added = [] if "--seeds" in words else SHORT.get(words[0], [])
        assert main([*words, *added]) == 0, words


@pytest.mark.slow
def test_the_commands_about_an_image_folder_run(tmp_path, monkeypatch):
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog", "owl")):
        Path("photos", name).mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(0, 120, (20, 24, 3)) + 60 * np.eye(3, dtype=int)[number]
            Image.fromarray(pixels.astype(np.uint8)).save(f"photos/{name}/{i}.png")
            Path("images").mkdir(exist_ok=True)
            shutil.copy(f"photos/{name}/{i}.png", f"images/{name}-{i}.png")
    Path("new_photos").symlink_to("photos/cat")
    known = [f"{name}-{i}.png,{name}\n" for name in ("cat", "dog", "owl") for i in range(8)]
    Path("few.csv").write_text("".join(["id,label\n", *known]))
    page = ROOT / "docs" / "guides" / "images.md"
    assert [param.values[0][0] for param in _commands(page)] == ["doctor", "distill", "predict", "export", "run"]
    _run_all(page)
    assert len(Path("answers.csv").read_text().splitlines()) == 21


@pytest.mark.slow
def test_the_commands_about_labels_run(tmp_path, monkeypatch):
    import numpy as np
    import pandas
    import skops.io
    from sklearn.linear_model import LogisticRegression

    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(120, 2))
    rows = pandas.DataFrame(x, columns=["a", "b"])
    skops.io.dump(LogisticRegression().fit(rows, np.where(x[:, 0] > 0, "yes", "no")), "forest.skops")
    rows.assign(label="").to_csv("rows.csv", index=False)
    rows.assign(label=np.where(x[:, 1] > 0, "yes", "no")).to_csv("noisy.csv", index=False)
    _run_all(ROOT / "docs" / "guides" / "labels.md")
    found = json.loads(next(Path("runs").glob("distill-rows-*/result.json")).read_text())
    assert next(iter(found["metrics"])) == "teacher_agreement"
