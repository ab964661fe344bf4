"""A teacher that was fitted on some of the test rows: its figures are marked."""

import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

import didact
from didact.errors import DidactError
from didact.experiment.arms import Plan
from didact.experiment.config import RunConfig
from didact.experiment.doctor import diagnose
from didact.experiment.material import Objects
from didact.experiment.preparing import prepare
from didact.materials.examples.data import open_examples

SHORT = {"method": "distill", "student": "mlp:8", "steps": 30, "progress": False, "split_seed": 0}


def write_table(path, rows):
    path.write_text("a,b,c,label\n" + "".join(f"{a},{b},{c},{['no', 'yes'][y]}\n" for a, b, c, y in rows))
    return str(path)


@pytest.fixture
def table(tmp_path):
    """Rows whose labels are noisy, so that a forest knows those that it was fitted on far better than others."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(600, 3)).round(4)
    label = (x[:, 0] + generator.normal(size=600) > 0).astype(int)
    rows = [(*map(float, features), int(answer)) for features, answer in zip(x, label, strict=True)]
    return write_table(tmp_path / "all.csv", rows), rows


def forest(rows):
    values = np.array(rows)
    names = np.array(["no", "yes"])[values[:, 3].astype(int)]
    return RandomForestClassifier(50, random_state=0).fit(values[:, :3].astype(np.float32), names)


def test_a_teacher_whose_rows_are_not_known_is_marked(table, tmp_path):
    path, rows = table
    result = didact.run(data=path, teacher=forest(rows), directory=tmp_path / "run", **SHORT)
    # Fitted on everything, it is almost always right, and nothing here can know why.
    assert result.teacher["accuracy"] > 0.97
    assert result.teacher_seen is None
    assert any(note.startswith("* Nothing says which rows the teacher was fitted on") for note in result.notes)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["teacher_seen"] is None
    assert "teacher*" in (tmp_path / "run" / "report.html").read_text()


def test_figures_on_rows_that_it_learned_are_told_apart(table, tmp_path):
    path, rows = table
    named = write_table(tmp_path / "half.csv", rows[:300])
    teacher = forest(rows[:300])
    result = didact.run(data=path, teacher=teacher, teacher_data=named, **SHORT)
    test = open_examples(RunConfig.from_flags(**SHORT, data=path)).splits.test
    x, label = test.tensors["x"].numpy(), np.array(["no", "yes"])[test.tensors["label"].numpy()]
    learned = {tuple(np.float32(row[:3])) for row in rows[:300]}
    seen = np.array([tuple(row) in learned for row in x])
    assert 0 < result.teacher_seen == seen.sum() < len(seen)
    assert result.teacher_unseen["accuracy"] == pytest.approx(teacher.score(x[~seen], label[~seen]))
    assert result.teacher["accuracy"] > result.teacher_unseen["accuracy"] + 0.05
    (note,) = [note for note in result.notes if note.startswith("* The teacher was fitted on")]
    assert f"{seen.sum()} of {len(seen)} test examples" in note
    assert f"on the others it has {100 * result.teacher_unseen['accuracy']:.1f}% accuracy" in note


def test_a_teacher_that_saw_no_test_row_is_not_marked(table, tmp_path):
    path, rows = table
    examples = didact.sources.load(path)
    train = set(didact.sources.split(examples, seed=0).train.tensors["id"].tolist())
    kept = [row for row, name in zip(rows, examples.tensors["id"].tolist(), strict=True) if name in train]
    named = write_table(tmp_path / "train.csv", kept)
    result = didact.run(data=path, teacher=forest(kept), teacher_data=named, **SHORT)
    assert result.teacher_seen == 0
    assert not [note for note in result.notes if note.startswith("*")]
    checks = diagnose(
        RunConfig.from_flags(**{**SHORT, "data": path, "teacher_data": named}), Objects(teacher=forest(kept))
    )
    found = [check.detail for check in checks if check.name == "teacher data"]
    assert found[0] == "The teacher was not fitted on any test example."
    # The forest knows its own rows by heart, and the noise keeps it from being right on others.
    assert found[1].startswith("The teacher has 100.0% accuracy on training and ")


def test_a_teacher_that_is_trained_here_is_not_marked(table):
    path, _ = table
    result = didact.run(data=path, teacher="mlp:8", **{**SHORT, "teacher_epochs": 1})
    assert result.teacher_seen == 0
    assert not [note for note in result.notes if note.startswith("*")]


@pytest.mark.parametrize(
    ("teacher", "named", "message"),
    [
        (None, "nowhere.csv", "teacher_data is 'nowhere.csv', but there is no such file"),
        ("mlp:8", "all.csv", "no teacher comes from"),
    ],
)
def test_rows_that_mean_nothing_are_refused_before_the_run(table, teacher, named, message):
    path, rows = table
    named = path if named == "all.csv" else named
    config = RunConfig.from_flags(**{**SHORT, "data": path, "teacher_data": named, "teacher": teacher})
    with pytest.raises(DidactError, match=message):
        prepare(config, Objects(teacher=None if teacher else forest(rows)), teach=False)


def test_arms_without_that_teacher_compare_without_its_rows():
    shared = {"data": "train.csv", "teacher": "forest.skops", "teacher_data": "train.csv"}
    configs = Plan(["supervised", "distill", "distill,teacher=random"], shared).configs
    assert [config.teacher_data for config in configs.values()] == [None, "train.csv", None]
