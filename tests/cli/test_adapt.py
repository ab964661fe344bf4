"""`didact adapt`: a finished run's student on rows of another domain."""

import json

import numpy as np
import pandas
import pytest
import torch

import didact
from didact.cli import main
from didact.errors import ConfigError


def rows(size, seed, shift=0.0):
    x = np.random.default_rng(seed).normal(size=(size, 3)).round(4)
    label = np.where(x[:, 0] > 0, "yes", "no")
    return pandas.DataFrame({"a": x[:, 0] + shift, "b": x[:, 1], "c": x[:, 2], "label": label})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run, and files of another domain with and without labels."""
    folder = tmp_path_factory.mktemp("adapt")
    rows(200, 0).to_csv(folder / "source.csv", index=False)
    rows(90, 1, 0.5).to_csv(folder / "labelled.csv", index=False)
    rows(90, 1, 0.5).drop(columns="label").to_csv(folder / "raw.csv", index=False)
    given = {"data": str(folder / "source.csv"), "steps": 30, "lr": 0.01, "progress": False}
    for name, student in (("net", "transformer:1x8"), ("plain", "mlp:4")):
        didact.run("supervised", student=student, directory=folder / name, **given)
    return folder


@pytest.fixture(autouse=True)
def here(made, monkeypatch):
    monkeypatch.chdir(made)


def test_it_writes_a_student_that_predicts_as_any_other_and_leaves_the_run_alone(made, tmp_path, capsys):
    before = (made / "net" / "student" / "weights.safetensors").read_bytes()
    words = ["adapt", "net", "--data", "labelled.csv", "--lr", "0.1", "--epochs", "3", "--out", str(tmp_path / "new")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "90, whose labels were not learned, by tent" in shown
    kept = json.loads((tmp_path / "new" / "adapted.json").read_text())
    assert f"{kept['before']['entropy']:.3f} nats before, {kept['after']['entropy']:.3f} after" in shown
    assert f"{100 * kept['after']['accuracy']:.1f}% after" in shown
    assert kept["after"]["entropy"] < kept["before"]["entropy"]
    assert (made / "net" / "student" / "weights.safetensors").read_bytes() == before
    assert main(["evaluate", str(tmp_path / "new"), "--data", "labelled.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] == kept["after"]["accuracy"]
    old, new = didact.load("net").learner.state_dict(), didact.load(tmp_path / "new").learner.state_dict()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert moved and all("norm" in name for name in moved)


def test_labels_are_not_learned_and_need_not_be_there(made):
    found = [didact.adapt("net", file, lr=0.05, seed=3) for file in ("raw.csv", "labelled.csv")]
    assert set(found[0].before) == {"entropy"} and "accuracy" in found[1].after
    states = [one.student.learner.state_dict() for one in found]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    again = didact.adapt("net", pandas.read_csv("raw.csv"), lr=0.05, seed=3)
    assert again.after == found[0].after


def test_a_new_folder_under_runs_is_the_default_and_json_says_where(made, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["adapt", str(made / "net"), "--data", str(made / "raw.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["directory"] == "runs/adapt-tent-raw-001" and told["rows"] == 90
    assert didact.load(told["directory"]).predict(made / "raw.csv").labels


def test_batch_statistics_of_a_module_of_ones_own_are_those_of_the_new_rows(tmp_path):
    def net():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))

    given = {"data": "source.csv", "steps": 20, "progress": False}
    didact.run("supervised", student=net(), directory=tmp_path / "own", **given)
    found = didact.adapt(tmp_path / "own", "raw.csv", module=net(), batch_size=90, lr=1e-12)
    layer = found.student.learner.module[0]
    seen = found.student.read("raw.csv").tensors["x"]
    torch.testing.assert_close(layer.running_mean, seen.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.running_var, seen.var(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plain", "--data", "raw.csv"], "no normalisation layer with a scale or an offset"),
        (["net", "--data", "raw.csv", "--by", "supervised"], "by is 'supervised', which adapts no student; "),
        (["net", "--data", "raw.csv", "--by", "tnt"], "Did you mean tent"),
        (["net", "--data", "other.csv"], "no column 'a', which the student was taught with"),
        (["net", "--data", "one.csv"], "There is 1 row to adapt to, but tent needs 2 in a batch"),
        (["net", "--data", "raw.csv", "--batch-size", "1"], "batch_size is 1, which is too few of 90"),
        (["net", "--data", "none.csv"], "none.csv"),
        (["net", "--data", "odd.csv"], "'maybe' in row 1, a class that the student does not know"),
        (["net", "--data", "raw.csv", "--out", "net"], "out is 'net', which holds something already"),
        (["net", "--data", "raw.csv", "--out", "raw.csv"], "out is 'raw.csv', which is a file"),
        (["net", "--data", "raw.csv", "--lr", "-1"], "lr"),
    ],
)
def test_what_cannot_be_adapted_is_refused_and_nothing_is_written(words, message, made, capsys):
    rows(5, 0).rename(columns={"a": "z"}).to_csv("other.csv", index=False)
    rows(1, 0).to_csv("one.csv", index=False)
    rows(3, 0).assign(label="maybe").to_csv("odd.csv", index=False)
    kept = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert main(["adapt", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (made / "runs").exists()
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()}.items() <= kept.items()


def test_a_student_of_numbers_has_no_certainty(tmp_path):
    frame = rows(60, 0).assign(label=lambda t: t["a"] * 1.5)
    didact.run(
        "supervised", data=frame, target="label", student="mlp:4", steps=3, progress=False, directory=tmp_path / "r"
    )
    with pytest.raises(ConfigError, match="answers with no classes, of whose certainty tent makes use"):
        didact.adapt(tmp_path / "r", "raw.csv")
