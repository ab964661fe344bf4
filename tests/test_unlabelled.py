"""A teacher with unlabelled rows only."""

import numpy as np
import pandas
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

import didact
from didact.cli import main
from didact.errors import DidactError
from didact.experiment.config import RunConfig
from didact.experiment.doctor import diagnose

SHORT = {"student": "mlp:16", "steps": 300, "lr": 0.01, "progress": False}


@pytest.fixture
def forest(tmp_path, monkeypatch):
    """A forest of three classes in a file, and a table of 400 rows without any label."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    x = pandas.DataFrame(generator.normal(size=(700, 3)).round(3), columns=["a", "b", "c"])
    names = np.array(["low", "middle", "high"])[np.digitize(x["a"], [-0.5, 0.5])]
    model = RandomForestClassifier(50, random_state=0).fit(x[:300], names[:300])
    skops.io.dump(model, "forest.skops")
    x[300:].assign(label=None).to_csv("rows.csv", index=False)
    return model


@pytest.mark.parametrize("settings", [{}, {"classes": "high,low,middle"}, {"labels": None, "select": "last"}])
def test_a_student_learns_from_answers_alone_and_is_judged_by_agreement(forest, settings):
    result = didact.run(method="distill", teacher="forest.skops", data="rows.csv", **SHORT, **settings)
    assert list(result.metrics) == ["teacher_agreement", "teacher_kl"]
    rows = pandas.read_csv("rows.csv").drop(columns="label")
    asked = forest.predict(rows)
    assert (np.array(result.student.predict(rows).labels) == asked).mean() > 0.85
    assert result.metrics["teacher_agreement"] > 0.8
    assert result.cost.labels == 0
    assert any("the metric is agreement with the teacher" in note for note in result.notes)


@pytest.mark.slow
def test_the_command_and_the_doctor_and_a_comparison_take_them(forest, capsys):
    words = ["--teacher", "forest.skops", "--data", "rows.csv", "--student", "mlp:8", "--steps", "20", "--no-progress"]
    assert main(["distill", *words, "--out", "run"]) == 0
    assert "agreement with the teacher (%)" in capsys.readouterr().out
    config = RunConfig.from_flags(method="distill", teacher="forest.skops", data="rows.csv", **SHORT)
    checks = diagnose(config)
    assert not [check for check in checks if check.level == "fail"]
    assert any("No example has a label" in check.detail for check in checks)
    compared = didact.compare(
        ["distill", "distill,temperature=4"], teacher="forest.skops", data="rows.csv", seeds=[0, 1], **SHORT
    )
    assert compared.comparison.metric == "teacher_agreement"
    assert compared.comparison.arms == ("distill", "distill,temperature=4")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "supervised", "classes": "a,b"},
            "No example of 'rows.csv' has a label, but the method 'supervised'",
        ),
        ({"method": "mean_teacher", "classes": "a,b"}, "the method 'mean_teacher' needs some"),
        ({"method": "supervised"}, "has no value in any of its 400 rows; give at least two, or a teacher"),
        ({"method": "distill", "teacher": "forest.skops", "classes": "low,high"}, "only the teacher has 'middle'"),
        ({"method": "distill", "teacher": "mlp:8", "classes": "low,high"}, "give one teacher that is trained already"),
    ],
)
def test_what_needs_labels_is_refused_in_a_sentence(forest, settings, message):
    with pytest.raises(DidactError, match=message):
        didact.run(data="rows.csv", **{**SHORT, **settings})


def test_a_regression_without_labels_is_learned_in_the_unit_of_the_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = pandas.DataFrame(np.random.default_rng(0).normal(size=(700, 3)).round(3), columns=["a", "b", "c"])
    price = 200_000 + 80_000 * x["a"] + 20_000 * x["b"]
    model = RandomForestRegressor(30, random_state=0).fit(x[:300], price[:300])
    skops.io.dump(model, "forest.skops")
    x[300:].assign(price=None).to_csv("rows.csv", index=False)
    settings = {"data": "rows.csv", "target": "price", "task": "regression", **SHORT}
    result = didact.run(method="distill", teacher="forest.skops", **settings)
    assert list(result.metrics) == ["teacher_rmse"]
    asked = model.predict(x[300:])
    answered = result.student.predict(x[300:]).values
    assert np.sqrt(np.mean((answered - asked) ** 2)) < 0.2 * asked.std()
    assert 0 < result.metrics["teacher_rmse"] < 0.3 * asked.std()
    with pytest.raises(DidactError, match="give one teacher that is trained already, or labels"):
        didact.run(method="distill", teacher="mlp:8", **settings)
