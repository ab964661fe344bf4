"""The search: the right student where it is known, test rows at the end alone, and the same after a kill."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import didact
from didact.cli import main
from didact.errors import CheckpointError, ConfigError, DataError, RunError, TeacherError
from didact.materials.examples.compression import compressing, footprint, searching

STUDENTS = ["linear", "tree:4", "mlp:4"]
SETTINGS = {"target": "label", "split_column": "split", "steps": 40, "seeds": (0, 1), "minutes": 5}
SPLITS = np.array(["train"] * 360 + ["validation"] * 120 + ["test"] * 120)


@pytest.fixture(scope="module", autouse=True)
def timed_once():
    """How long a student takes is not the question here."""

    def once(run, **_):
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(footprint, "median_time", once)
        patch.setattr(compressing, "median_time", once)
        yield


def rows(score, seed=0, size=600):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(size, 3)).round(3), columns=["u", "v", "w"])
    frame["label"] = np.where(score(frame) > 0, "yes", "no")
    return frame.assign(split=SPLITS[:size])


LINEAR = rows(lambda f: f.u + 2 * f.v - f.w)
STEPS = rows(lambda f: (f.u > 0.3) * 1.0 + (f.v > 0.1) - 1.5)
NAMES = ["u", "v", "w"]


def fitted(frame, model):
    train = frame[frame.split == "train"]
    return model.fit(train[NAMES], train["label"])


class Asked:
    """A fitted model that notes which rows it was asked about, and after how many trials."""

    def __init__(self, model, trials):
        self.model, self.trials, self.seen = model, trials, []

    def __call__(self, frame):
        self.seen.append((len(self.trials), frame))
        return pd.DataFrame(self.model.predict_proba(frame[NAMES]), columns=list(self.model.classes_))

    def about(self, frame):
        """By call, how many of its rows are among some."""
        wanted = set(map(tuple, frame[NAMES].to_numpy()))
        return [(n, sum(tuple(row) in wanted for row in given[NAMES].to_numpy())) for n, given in self.seen]


@pytest.fixture(scope="module")
def linear():
    """A search where a linear model is right, with all that its teacher was asked."""
    trials = []
    asked = Asked(fitted(LINEAR, LogisticRegression(C=100)), trials)
    found = didact.compress(teacher=asked, data=LINEAR, students=STUDENTS, on_trial=trials.append, **SETTINGS)
    return found, asked, trials


def test_the_truth_is_linear_and_so_is_the_student(linear):
    found, _, _ = linear
    assert (found.name, found.spec, found.reached, found.out_of_time) == ("linear, refit", "mlp:", True, False)
    assert found.metrics["accuracy"] > 0.95
    test = LINEAR[LINEAR.split == "test"]
    right = np.mean(np.array(found.student.predict(test).labels) == test.label)
    assert found.metrics["accuracy"] == pytest.approx(right)
    assert found.test.low <= right <= found.test.high
    assert found.sentences()[0].startswith(
        "linear, refit is the smallest student within 1 point of the teacher that was"
    )
    assert found.difference.value == pytest.approx(found.metrics["accuracy"] - found.teacher["accuracy"])


def test_test_rows_are_asked_about_once_after_the_last_trial(linear):
    _, asked, trials = linear
    about = [(after, count) for after, count in asked.about(LINEAR[LINEAR.split == "test"]) if count]
    assert about == [(len(trials), 120)]


def test_training_rows_are_asked_about_once_and_so_are_made_up_ones(linear):
    """256 were asked about when the teacher was checked, and with them the rows made up that equal one of them."""
    _, asked, trials = linear
    whole = [given for after, given in asked.seen if len(given) > 256 and after < len(trials)]
    assert 720 - 256 - 2 <= sum(map(len, whole)) <= 720 - 256
    train = set(map(tuple, LINEAR[LINEAR.split == "train"][NAMES].to_numpy()))
    made_up = [row for given in whole for row in given[NAMES].itertuples(index=False) if tuple(row) not in train]
    assert len(made_up) > 200


def test_a_student_that_peeks_is_found_out(monkeypatch):
    """What the first test would say of a search that looked at test rows."""
    trials = []
    asked = Asked(fitted(LINEAR, LogisticRegression()), trials)
    prepare = compressing.plan

    def peeking(*arguments, **settings):
        made = prepare(*arguments, **settings)
        made.run.teachers[0].model.signal(made.data.splits.test.batch())
        return made

    monkeypatch.setattr(compressing, "plan", peeking)
    didact.compress(teacher=asked, data=LINEAR, students=["linear"], on_trial=trials.append, **SETTINGS)
    assert [after for after, count in asked.about(LINEAR[LINEAR.split == "test"]) if count] == [0, len(trials)]


def test_rounds_pair_seeds_and_the_last_has_all(linear):
    _, _, trials = linear
    first = [trial.name for trial in trials if trial.number == 0]
    assert sorted(first) == ["linear, refit", "mlp:4, distill", "mlp:4, supervised", "tree:4, refit"]
    assert {trial.seed for trial in trials if trial.number == 0} == {0}
    last = {}
    for trial in trials:
        if trial.number == 1:
            last.setdefault(trial.name, []).append(trial.seed)
    assert len(last) == 2 and all(seeds == [0, 1] for seeds in last.values())
    assert last.keys() <= set(first)


def test_where_the_truth_is_steps_a_tree_is_the_student():
    teacher = fitted(STEPS, RandomForestClassifier(20, random_state=0))
    found = didact.compress(teacher=teacher, data=STEPS, students=["linear", "tree:4", "tree:32"], **SETTINGS)
    assert (found.name, found.reached) == ("tree:4, refit", True)
    assert found.spec.startswith("trees:7,1,")
    assert found.speedup > 5


def test_a_wider_bound_lets_a_smaller_one_in():
    teacher = fitted(STEPS, RandomForestClassifier(20, random_state=0))
    given = {"teacher": teacher, "data": STEPS, "students": ["tree:2", "tree:4"], **SETTINGS, "seeds": (1, 2)}
    assert didact.compress(within=25, **given).name == "tree:2, refit"
    assert didact.compress(within=0.5, **given).name == "tree:4, refit"


def test_the_fastest_is_another_than_the_smallest(monkeypatch):
    """With times that are planted: of two that are within the bound, the larger one is the faster."""
    measure = searching.measure

    def planted(student, examples):
        found = measure(student, examples)
        return dataclasses.replace(found, milliseconds=1.0 if student.spec.startswith("trees") else 5.0)

    monkeypatch.setattr(searching, "measure", planted)
    teacher = fitted(LINEAR, LogisticRegression())
    given = {"teacher": teacher, "data": LINEAR, "students": ["linear", "boosted:20"], "within": 15, **SETTINGS}
    small, fast = (didact.compress(prefer=prefer, **given) for prefer in ("size", "latency"))
    assert (small.name, fast.name) == ("linear, refit", "boosted:20, refit")
    assert "is the fastest student within 15 points" in fast.sentences()[0]
    assert small.footprint.megabytes < fast.footprint.megabytes


def test_a_number_is_found_in_its_own_unit():
    frame = LINEAR.assign(label=(LINEAR.u * 3e4 + LINEAR.v * 1e4 + 2e5).round(2))
    train = frame[frame.split == "train"]
    teacher = RandomForestRegressor(30, random_state=0).fit(train[NAMES], train.label)
    found = didact.compress(teacher=teacher, data=frame, students=["linear", "boosted:5", "mlp:4"], **SETTINGS)
    assert (found.metric, found.name, found.reached) == ("r2", "linear, refit", True)
    test = frame[frame.split == "test"]
    values = found.student.predict(test).values
    assert 1 - np.sum((values - test.label) ** 2) / np.sum((test.label - test.label.mean()) ** 2) > 0.97
    assert found.metrics["r2"] > 0.97


def test_without_labels_students_are_judged_by_agreement():
    teacher = fitted(LINEAR, LogisticRegression())
    frame = LINEAR.assign(label=None)
    settings = {**SETTINGS, "classes": ("no", "yes")}
    found = didact.compress(teacher=teacher, data=frame, students=["linear", "tree:4"], **settings)
    assert found.metric == "teacher_agreement" and next(iter(found.metrics)) == "teacher_agreement"
    assert found.name == "linear, refit"
    test = LINEAR[LINEAR.split == "test"]
    same = np.mean(np.array(found.student.predict(test).labels) == teacher.predict(test[NAMES]))
    assert found.metrics["teacher_agreement"] == pytest.approx(same)


def test_nothing_within_the_bound_names_the_nearest():
    frame = rows(lambda f: f.u * f.v)
    teacher = fitted(frame, RandomForestClassifier(100, random_state=0))
    found = didact.compress(teacher=teacher, data=frame, students=["linear", "tree:2", "tree:3"], **SETTINGS)
    assert not found.reached
    best = max((row for row in found.rows), key=lambda row: row.metric)
    assert found.name == best.name
    # All were given a last round before the search gave up.
    assert {row.share for row in found.rows} == {1.0}
    assert found.sentences()[0].startswith(f"No student is within 1 point of the teacher. The nearest is {best.name}")


def test_the_time_ends_it_with_what_there_is():
    teacher = fitted(LINEAR, LogisticRegression())
    given = {**SETTINGS, "minutes": 1e-6}
    found = didact.compress(teacher=teacher, data=LINEAR, students=STUDENTS, **given)
    assert found.out_of_time and len(found.rows) == 1
    assert found.sentences()[1].endswith("The time was up before the search had ended.")


@pytest.mark.slow
def test_images_are_compressed_too():
    students = ["mlp:", "mlp:16"]
    found = didact.compress(teacher="mlp:64", teacher_epochs=1, data="digits", students=students, steps=60, seeds=(0,))
    assert len(found.rows) == 4 and found.metric == "accuracy"
    assert all(row.runtime == "onnxruntime" for row in found.rows)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of a table and of a teacher, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, part in LINEAR.groupby("split"):
        part.drop(columns="split").to_csv(f"{name}.csv", index=False)
    skops.io.dump(fitted(LINEAR, RandomForestClassifier(10, random_state=0)), "forest.skops")
    return tmp_path


WORDS = [
    *("compress", "--teacher", "forest.skops", "--data", "train.csv", "--validation", "validation.csv"),
    *("--test", "test.csv", "--target", "label", "--steps", "40", "--seeds", "0-1", "--teacher-data", "train.csv"),
    *("--students", *STUDENTS, "--out", "found"),
]


def test_the_whole_way_on_the_command_line(files, capsys):
    assert main([*WORDS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"directory": "found", **json.loads((files / "found" / "result.json").read_text())}
    assert found["notes"] == []
    test = pd.read_csv("test.csv")
    assert main(["predict", "found", "--data", "test.csv", "--out", "answers.csv"]) == 0
    right = np.mean(pd.read_csv("answers.csv").prediction == test.label)
    assert found["metrics"]["accuracy"] == pytest.approx(right)
    assert main(["evaluate", "found", "--data", "test.csv"]) == 0
    assert main(["export", "found", "--to", "onnx"]) == 0
    session = onnxruntime.InferenceSession("found/student.onnx")
    _, labels = session.run(None, {name: test[[name]].to_numpy() for name in NAMES})
    np.testing.assert_array_equal(labels, pd.read_csv("answers.csv").prediction)
    card = (files / "found" / "student" / "README.md").read_text()
    assert found["name"].split(",")[0] in card and "forest.skops" in card
    report = (files / "found" / "report.html").read_text()
    assert "Students" in report and found["sentences"][0].split(":")[0] in report
    (files / "found" / "report.html").unlink()
    assert main(["report", "found"]) == 0
    assert (files / "found" / "report.html").read_text() == report
    # A finished search that is resumed makes no trial again, and says the same.
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (files / "found" / "trials").rglob("*.json")}
    assert main(["resume", "found"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (files / "found" / "trials").rglob("*.json")} == before
    assert "accuracy" in capsys.readouterr().out
    same = json.loads((files / "found" / "result.json").read_text())
    for name in ("name", "metrics", "test", "difference", "rows", "validation"):
        assert same[name] == found[name]
    assert didact.load("found").classes == ("no", "yes")


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_to_the_same_end(files):
    script = textwrap.dedent(
        f"""
        import time, didact
        didact.compress(teacher="forest.skops", data="train.csv", validation="validation.csv", test="test.csv",
            target="label", students={STUDENTS}, steps=40, seeds=(0, 1), directory="killed",
            on_trial=lambda trial: time.sleep(0.3))
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ})
    start = time.monotonic()
    while len(list((files / "killed" / "trials").glob("[0-9]*"))) < 3 and time.monotonic() - start < 60:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    kept = {path.name for path in (files / "killed" / "trials").glob("[0-9]*")}
    assert 3 <= len(kept) < 8 and not (files / "killed" / "result.json").exists()
    told = []
    found = compressing.resume("killed", on_trial=told.append)
    whole = didact.compress(
        teacher="forest.skops",
        data="train.csv",
        validation="validation.csv",
        test="test.csv",
        target="label",
        students=STUDENTS,
        steps=40,
        seeds=(0, 1),
    )
    assert (found.name, found.metrics, found.test) == (whole.name, whole.metrics, whole.test)
    assert [(row.name, row.metric, row.parameters) for row in found.rows] == [
        (row.name, row.metric, row.parameters) for row in whole.rows
    ]
    weights = found.student.learner.state_dict()
    assert all((weights[name] == tensor).all() for name, tensor in whole.student.learner.state_dict().items())


def test_ctrl_c_keeps_what_was_tried(files, capsys, monkeypatch):
    from didact.cli import show

    count = []

    def stop(self, trial):
        count.append(trial)
        if len(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(show.Counter, "tell_trial", stop)
    assert main(WORDS) == 130
    assert "What was tried is kept; go on with: didact resume found" in " ".join(capsys.readouterr().err.split())
    assert len(list((files / "found" / "trials").glob("[0-9]*"))) == 2


def test_a_search_is_resumed_with_the_same_alone(files):
    given = {"teacher": "forest.skops", "data": "train.csv", "target": "label", "steps": 9, "seeds": (0,)}
    given |= {"students": ["linear"], "directory": "found"}
    didact.compress(**given)
    with pytest.raises(RunError, match="is taken already"):
        didact.compress(**given)
    with pytest.raises(CheckpointError, match=r"within is 2\.0, but the search found was begun with 1\.0"):
        didact.compress(**given, within=2, resume=True)
    with pytest.raises(CheckpointError, match=r"batch_size is 8|batches is .*'size': 8"):
        didact.compress(**given, batch_size=8, resume=True)
    with pytest.raises(ConfigError, match="name that of the search to go on with"):
        didact.compress(**{**given, "directory": None, "resume": True})
    trial = next((files / "found" / "trials").glob("[0-9]*"))
    (trial / "trial.json").write_text("{}")
    with pytest.raises(DataError, match="Delete that folder"):
        didact.compress(**given, resume=True)
    pd.read_csv("train.csv").iloc[:-1].to_csv("train.csv", index=False)
    with pytest.raises(CheckpointError, match="data are not those that the search found began with"):
        didact.compress(**given, resume=True)


def no_training(monkeypatch):
    def taught(*_):
        raise AssertionError("something was taught before all was checked")

    monkeypatch.setattr(compressing.Search, "run", taught)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"within": "much"}, ConfigError, "within is 'much', but must be a number"),
        ({"within": -1}, ConfigError, "within is -1.0, but must be at least 0"),
        ({"minutes": 0}, ConfigError, "minutes is 0.0, but must be above 0"),
        ({"prefer": "beauty"}, ConfigError, "prefer is 'beauty'"),
        ({"seeds": ()}, ConfigError, "must hold at least one seed"),
        ({"seeds": (1, 1)}, ConfigError, "each once"),
        ({"teacher": None}, ConfigError, "teacher is not given"),
        ({"student": "mlp:4"}, ConfigError, "students names those to try"),
        ({"epochs": 3}, ConfigError, "`compress` decides that itself"),
        ({"students": ["mlp:4", "mlp:4"]}, ConfigError, "named twice"),
        ({"students": ["tree:x"]}, ConfigError, "tree:LEAVES"),
        ({"students": ["mpl:4"]}, ConfigError, "mpl"),
        ({"students": ["cnn:4"]}, ConfigError, "cnn"),
        ({"made_up": -1}, ConfigError, "made_up is -1.0"),
        (
            {"split_column": None, "drop": ("split",), "validation": 0},
            ConfigError,
            "validation is 0.0, which leaves no",
        ),
        ({"teacher": LinearSVC().fit(LINEAR[NAMES], LINEAR.label)}, TeacherError, "has no predict_proba"),
        ({"data": "digits", "students": ["tree:4"], "target": None, "split_column": None}, ConfigError, "reads tables"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_taught(change, error, message, monkeypatch):
    no_training(monkeypatch)
    given = {"teacher": fitted(LINEAR, LogisticRegression()), "data": LINEAR, "students": STUDENTS, **SETTINGS}
    with pytest.raises(error, match=message):
        didact.compress(**{name: value for name, value in {**given, **change}.items() if value is not None})


def test_what_the_teacher_was_fitted_on_is_told(files):
    given = {"teacher": "forest.skops", "data": "train.csv", "target": "label", "steps": 9, "seeds": (0,)}
    found = didact.compress(**given, students=["linear"], teacher_data="train.csv")
    assert any("of 72 validation rows" in note or "validation rows, which flatters" in note for note in found.notes)
    assert any("The teacher was fitted on" in note and "test examples" in note for note in found.notes)
