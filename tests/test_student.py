"""A student in use: on rows as they come, whole in a directory, and told the truth about."""

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import didact
from didact import sources
from didact.cli import main
from didact.errors import CheckpointError, ConfigError, DataError
from didact.parts import saved

SETTINGS = {"student": "mlp:8", "progress": False, "split_seed": 3}


def people(size, seed=0):
    """A table of everything: numbers, gaps, words, codes, dates, an id; and whether a person is a member."""
    rng = np.random.default_rng(seed)
    age, city = rng.normal(40, 12, size).round(1), rng.choice(["Rome", "Oslo", "Cairo"], size)
    frame = pd.DataFrame(
        {
            "person_id": [f"p{number}" for number in range(size)],
            "age": age,
            "city": city,
            "zip": rng.choice(["01186", "75001"], size),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, size), "D"),
            "seen": 1.7e9 + rng.integers(0, 1000, size),
            "member": np.where(age + 10 * (city == "Oslo") > 42, "yes", "no"),
        }
    )
    frame.loc[::7, "age"] = None
    frame.loc[::11, "city"] = None
    return frame.assign(since=frame.since.dt.strftime("%Y-%m-%d"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a file of people, in its directory; and the folder."""
    folder = tmp_path_factory.mktemp("people")
    people(300).to_csv(folder / "people.csv", index=False)
    result = didact.run(
        method="supervised",
        data=str(folder / "people.csv"),
        target="member",
        id_column="person_id",
        directory=folder / "run",
        steps=60,
        **SETTINGS,
    )
    return folder, result


def bare_answers(student, frame):
    """The same from the net and its preprocessing, without anything between them."""
    x = student.like.preprocessing.encode(frame).tensors["x"]
    with torch.no_grad():
        logits = student.learner.eval()(didact.Batch({"x": x, "id": torch.arange(len(x))})).logits
    return logits.double().softmax(1).numpy()


def test_rows_are_answered_as_in_training_whatever_they_come_in(run, tmp_path):
    result = run[1]
    new = people(30, seed=1)
    expected = bare_answers(result.student, new)
    new.to_csv(tmp_path / "new.csv", index=False)
    new.to_parquet(tmp_path / "new.parquet")
    new.to_json(tmp_path / "new.jsonl", orient="records", lines=True)
    files = [tmp_path / name for name in ("new.csv", "new.parquet", "new.jsonl")]
    for rows in (new, {name: list(new[name]) for name in new}, new[new.columns[::-1]], *files):
        answers = result.student.predict(rows)
        np.testing.assert_array_equal(answers.probabilities, expected)
        assert answers.labels == [("no", "yes")[place] for place in expected.argmax(1)]
        assert list(answers.ids) == list(new["person_id"])
        assert dict(answers.missing) == {"age": 5, "city": 3}
    assert answers.predictions.classes == ("no", "yes")


def test_answers_of_a_few_rows_are_those_of_the_whole_table(run):
    student, new = run[1].student, people(30, seed=1)
    whole = student.predict(new).probabilities
    np.testing.assert_allclose(student.predict(new[:2]).probabilities, whole[:2], atol=1e-7)
    one = student.predict(new.iloc[5].to_dict())
    np.testing.assert_allclose(one.probabilities, whole[5:6], atol=1e-7)


def test_what_was_never_seen_is_counted(run):
    new = people(4, seed=2).assign(city=["Lima", "Rome", "Lima", None])
    answers = run[1].student.predict(new)
    assert dict(answers.unknown) == {"city": 2}
    assert answers.missing["city"] == 1
    assert np.isfinite(answers.probabilities).all()


def test_the_answers_are_a_table(run):
    frame = run[1].student.predict(people(5)).to_frame()
    assert list(frame) == ["person_id", "prediction", "probability of no", "probability of yes"]
    np.testing.assert_allclose(frame["probability of no"] + frame["probability of yes"], 1)
    assert frame["person_id"].tolist() == ["p0", "p1", "p2", "p3", "p4"]


def test_a_directory_holds_the_student_whole(run):
    folder, result = run
    new = people(20, seed=3)
    expected = result.student.predict(new).probabilities
    for path in (folder / "run", folder / "run" / "student"):
        np.testing.assert_array_equal(didact.load(path).predict(new).probabilities, expected)
    assert sorted(path.name for path in (folder / "run" / "student").iterdir()) == [
        "README.md",
        "checksums.json",
        "student.json",
        "weights.safetensors",
    ]
    assert main(["export", str(folder / "run"), "--out", str(folder / "one.safetensors")]) == 0
    np.testing.assert_array_equal(didact.load(folder / "one.safetensors").predict(new).probabilities, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts["preprocessing"]["columns"][1].update(fill="1"), "preprocessing as what cannot be"),
        (lambda facts: facts["preprocessing"]["columns"][1].update(kind="os.system"), "preprocessing as what cannot"),
        (lambda facts: facts.update(shape=[3]), "but prepares"),
        (lambda facts: facts.update(scale=[0, 0]), "gives its scale as"),
        (lambda facts: facts.update(target=3), "gives its target as"),
        (lambda facts: facts.update(more=1), "differs in more"),
    ],
)
def test_a_directory_that_was_altered_is_refused(run, tmp_path, change, message):
    saved.save(run[1].student, tmp_path / "student")
    facts = json.loads((tmp_path / "student" / "student.json").read_text())
    change(facts)
    (tmp_path / "student" / "student.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"student.json is not what was written"):
        didact.load(tmp_path / "student")
    # Whoever alters it can alter its checksum too.
    sums = json.loads((tmp_path / "student" / "checksums.json").read_text())
    sums["student.json"] = hashlib.sha256((tmp_path / "student" / "student.json").read_bytes()).hexdigest()
    (tmp_path / "student" / "checksums.json").write_text(json.dumps(sums))
    with pytest.raises(CheckpointError, match=message):
        didact.load(tmp_path / "student")


def test_a_net_of_ones_own_gets_its_weights_back(tmp_path):
    frame = people(120).drop(columns="person_id")

    module = nn.Sequential(nn.Flatten(), nn.Linear(14, 2))
    settings = {**SETTINGS, "student": module}
    result = didact.run(
        method="supervised", data=frame, target="member", directory=tmp_path / "run", steps=5, **settings
    )
    with pytest.raises(CheckpointError, match=r"module of your own; build that, and give it"):
        didact.load(tmp_path / "run")
    again = nn.Sequential(nn.Flatten(), nn.Linear(14, 2))
    found = didact.load(tmp_path / "run", module=again).predict(frame)
    np.testing.assert_array_equal(found.probabilities, result.student.predict(frame).probabilities)


def test_regressions_in_real_units_are_learned_and_told_in_them(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=400)
    frame = pd.DataFrame({"z": z, "price": 200_000 + 80_000 * z})
    results = {}
    for unit in (1, 1000):
        data = frame.assign(price=frame.price / unit)
        results[unit] = didact.run(
            method="supervised", data=data, target="price", task="regression", steps=300, seed=2, **SETTINGS
        )
    assert results[1].metrics["r2"] > 0.99
    assert results[1].metrics["rmse"] == pytest.approx(1000 * results[1000].metrics["rmse"], rel=1e-3)
    answers = results[1].student.predict(frame)
    error = answers.values - frame.price.to_numpy()
    assert np.abs(error).mean() < 8_000
    assert results[1].student.evaluate(frame)["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-6)
    with pytest.raises(DataError, match="have no probabilities"):
        answers.probabilities  # noqa: B018
    assert list(answers.to_frame()) == ["row", "prediction"]


def test_teachers_of_a_regression_may_speak_in_the_users_unit_or_in_another_scale(tmp_path):
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"z": rng.normal(size=300)})
    frame["price"] = 200_000 + 80_000 * frame.z
    teacher = LinearRegression().fit(frame[["z"]], frame.price)
    common = {"data": frame, "target": "price", "task": "regression", "seed": 2, **SETTINGS}
    first = didact.run(method="distill", teacher=teacher, steps=300, directory=tmp_path / "run", **common)
    assert first.teacher["rmse"] < 1
    assert first.teacher["teacher_rmse"] == pytest.approx(first.metrics["rmse"], rel=1e-2)
    # Another split has another scale, and the earlier run still answers in the user's unit.
    again = didact.run(method="distill", teacher=str(tmp_path / "run"), steps=5, **{**common, "split_seed": 4})
    assert again.teacher["rmse"] < 10_000
    assert again.student.like.scale != first.student.like.scale


def test_an_earlier_run_reads_rows_by_its_own_preprocessing(run, tmp_path):
    folder, first = run
    frame = people(300)
    common = {"data": frame, "target": "member", "id_column": "person_id", **{**SETTINGS, "split_seed": 9}}
    again = didact.run(method="distill", teacher=str(folder / "run"), steps=5, **common)
    ours, theirs = again.student.like.preprocessing, first.student.like.preprocessing
    assert not theirs.encodes_as(ours)
    examples = sources.from_frame(frame, target="member", id_column="person_id")
    splits = sources.split(examples, seed=9)
    rows = splits.test.rows
    expected = bare_answers(first.student, rows).argmax(1)
    accuracy = (expected == splits.test.tensors["label"].numpy()).mean()
    assert again.teacher["accuracy"] == pytest.approx(accuracy)


def test_a_student_that_is_taught_further_keeps_its_preprocessing(run):
    folder, first = run
    frame = people(200, seed=5).assign(city="Oslo")
    frame.loc[::2, "city"] = "Lima"
    again = didact.run(
        method="supervised",
        data=frame,
        target="member",
        id_column="person_id",
        steps=3,
        **{**SETTINGS, "student": str(folder / "run")},
    )
    assert again.student.like.preprocessing == first.student.like.preprocessing


def test_figures_of_labelled_rows(run, capsys):
    folder, result = run
    new = people(50, seed=6)
    new.loc[3, "member"] = None
    new.to_csv(folder / "labelled.csv", index=False)
    known = new["member"].notna().to_numpy()
    expected = bare_answers(result.student, new)[known]
    right = expected.argmax(1) == (new["member"][known] == "yes").to_numpy()
    assert result.student.evaluate(new)["accuracy"] == pytest.approx(right.mean())
    capsys.readouterr()
    assert main(["evaluate", str(folder / "run"), "--data", str(folder / "labelled.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"]["accuracy"] == pytest.approx(right.mean())
    assert told["rows"] == 49
    assert told["missing"] == {"age": 8, "city": 5}
    assert main(["evaluate", str(folder / "run"), "--data", str(folder / "labelled.csv")]) == 0
    assert "49 with an answer, of 50" in capsys.readouterr().out


def test_predict_writes_answers_a_part_at_a_time(run, tmp_path, monkeypatch, capsys):
    folder, result = run
    new = people(100, seed=7)
    new.to_csv(tmp_path / "new.csv", index=False)
    monkeypatch.setattr("didact.sources.inputs.ROWS", 30)
    out = tmp_path / "deep" / "answers.csv"
    assert main(["predict", str(folder / "run"), "--data", str(tmp_path / "new.csv"), "--out", str(out)]) == 0
    found = pd.read_csv(out)
    expected = result.student.predict(new)
    np.testing.assert_allclose(found["probability of yes"], expected.probabilities[:, 1], atol=1e-7)
    assert found["prediction"].tolist() == expected.labels
    assert found["person_id"].tolist() == new["person_id"].tolist()
    assert "15 in 'age'" in capsys.readouterr().out
    assert main(["predict", str(folder / "run"), "--data", str(tmp_path / "new.csv")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 101


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns=["city", "age"]), r"no column 'age', 'city', which the student"),
        (lambda frame: frame.assign(age=["40", "oops", "41"]), r"'age' holds numbers, but 1 .* \(row 2: 'oops'\)"),
        (lambda frame: frame.assign(since="never"), r"'since' holds dates, but 3 of its 3 cells"),
        (lambda frame: frame[:0], "has no rows"),
    ],
)
def test_bad_rows_are_a_sentence_and_nothing_is_lost(run, tmp_path, change, message, capsys):
    change(people(3)).to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "answers.csv").write_text("kept")
    words = [
        "predict",
        str(run[0] / "run"),
        "--data",
        str(tmp_path / "new.csv"),
        "--out",
        str(tmp_path / "answers.csv"),
    ]
    assert main(words) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))
    assert (tmp_path / "answers.csv").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "new.csv"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (people(3).assign(member="maybe"), r"'member' is 'maybe' in row 1, a class that the student does not know"),
        (people(3).drop(columns="member"), "have no 'member' to compare"),
        (people(3).assign(member=None), "None of the 3 examples has a label"),
        (
            np.zeros((3, 2)),
            r"takes a table of the 5 columns age, city, zip, since, seen but was given x of shape \[3, 2\]",
        ),
        ({"age": [1.0], "city": ["Rome", "Oslo"]}, "different lengths"),
        ("nowhere.csv", "no file or folder"),
        (pd.concat([people(3), people(3)[["age"]]], axis=1), "several columns called 'age'"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(run, rows, message):
    with pytest.raises(DataError, match=message):
        run[1].student.evaluate(rows)


def test_images_and_texts_are_answered_too(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 120)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(low, low + 100, (9, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    folder = tmp_path / "pictures"
    result = didact.run(
        method="supervised", data=str(folder), image_size=8, steps=40, directory=tmp_path / "run", **SETTINGS
    )
    student = didact.load(tmp_path / "run")
    answers = student.predict(folder)
    assert answers.ids[0] == "dark/0.png"
    assert student.evaluate(folder)["accuracy"] == pytest.approx(
        np.mean([label == name.split("/")[0] for label, name in zip(answers.labels, answers.ids, strict=True)])
    )
    paths = [folder / str(name) for name in answers.ids]
    for images in (paths, [Image.open(path) for path in paths], [np.asarray(Image.open(path)) for path in paths]):
        np.testing.assert_array_equal(student.predict(images).probabilities, answers.probabilities)
    examples = sources.load(folder, image_size=8)
    np.testing.assert_array_equal(student.predict(examples.tensors["x"]).probabilities, answers.probabilities)
    assert result.metrics["accuracy"] > 0.9
    with pytest.raises(DataError, match=r"images are \[3, 9, 9\], but the student takes \[3, 8, 8\]"):
        student.predict(np.zeros((1, 3, 9, 9)))

    texts = [f"{word} {number} words" for number in range(40) for word in ("good", "bad")]
    rows = [{"said": text, "label": text.split()[0]} for text in texts]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = didact.run(
        method="supervised",
        data=str(tmp_path / "t.jsonl"),
        text_column="said",
        steps=60,
        directory=tmp_path / "texts",
        **SETTINGS,
    )
    student = didact.load(tmp_path / "texts")
    answers = student.predict(texts)
    np.testing.assert_array_equal(student.predict(tmp_path / "t.jsonl").probabilities, answers.probabilities)
    np.testing.assert_allclose(student.predict([texts[3]]).probabilities, answers.probabilities[3:4], atol=1e-6)
    assert student.evaluate(pd.DataFrame(rows))["accuracy"] == np.mean(
        [a == r["label"] for a, r in zip(answers.labels, rows, strict=True)]
    )
    with pytest.raises(DataError, match="text in row 2 of 2 is ''"):
        student.predict(["good", ""])


def test_what_was_decided_of_the_columns_is_told(run):
    told = didact.run(method="supervised", data=people(100).assign(shop=1), target="member", steps=1, **SETTINGS).notes
    assert any(
        "Columns that are not used: 'person_id', as it is a different word in every row" in note for note in told
    )
    assert any("'shop', as it is '1' in every training row" in note for note in told)


def test_data_must_be_named():
    with pytest.raises(ConfigError, match="data is not given; say what to learn from"):
        didact.run(method="supervised", steps=1, **SETTINGS)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Linear(4, 5), r"gives 5 numbers for an example, but the data 'tensors' have 2 classes: 0, 1"),
        (nn.Linear(4, 1), "gives 1 numbers for an example"),
        (nn.Linear(3, 2), r"cannot read inputs of shape \[4\] \(mat1 and mat2 shapes"),
    ],
)
def test_a_student_of_other_outputs_or_inputs_is_refused_before_compute(net, message, tmp_path):
    data = (torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2)
    weights = [parameter.clone() for parameter in net.parameters()]
    with pytest.raises(ConfigError, match=message):
        didact.run(method="supervised", data=data, steps=5, directory=tmp_path / "run", **{**SETTINGS, "student": net})
    assert not (tmp_path / "run").exists()
    assert all(torch.equal(*pair) for pair in zip(weights, net.parameters(), strict=True))


def test_a_student_of_two_outputs_is_refused_for_a_regression():
    data = (torch.randn(60, 4), torch.randn(60))
    with pytest.raises(ConfigError, match="gives 2 numbers for an example, but the data 'tensors' have one number"):
        didact.run(method="supervised", data=data, steps=5, **{**SETTINGS, "student": nn.Linear(4, 2)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "new.csv is not a readable CSV file: it is empty"),
        (b"age,city", "new.csv has no rows"),
        (b"age,city\n\n", "new.csv has no rows"),
        (b"\x00\x01\xff", "new.csv has no rows"),
        (b"age,city\n1,Rome\n2\n", "line 3 has 1 cells, but the first line has 2 names"),
        (b"1.5,Rome\n2.5,Oslo\n", "no names in its first line, but 1.5, Rome"),
        (b"age,age\n1,2\n", "several columns called 'age'"),
    ],
)
def test_files_that_are_no_rows_are_a_sentence_and_nothing_is_lost(run, tmp_path, content, message, capsys):
    (tmp_path / "new.csv").write_bytes(content)
    (tmp_path / "answers.csv").write_text("kept")
    words = ["--data", str(tmp_path / "new.csv"), "--out", str(tmp_path / "answers.csv")]
    assert main(["predict", str(run[0] / "run"), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "answers.csv").read_text() == "kept"


def test_a_student_of_another_run_is_asked_for_its_own_columns(run, tmp_path, capsys):
    frame = pd.DataFrame({"petal": np.arange(60.0), "kind": list("ab") * 30})
    didact.run(method="supervised", data=frame, target="kind", steps=1, directory=tmp_path / "run", **SETTINGS)
    people(3).to_csv(tmp_path / "new.csv", index=False)
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "new.csv")]) == 2
    assert "have no column 'petal', which the student was taught with" in " ".join(capsys.readouterr().err.split())
