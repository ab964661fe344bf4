"""Data that come split, from the command line to the figures."""

import json

import numpy as np
import pytest

from didact.cli import main
from didact.errors import DidactError
from didact.experiment.config import RunConfig
from didact.materials.examples.data import open_examples
from didact.sources.split_files import NAMES

SHORT = {"method": "supervised", "student": "mlp:8", "steps": 20, "progress": False}


def write(path, rows, names=("a", "b", "label")):
    path.write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def rows(size=200, seed=0):
    x = np.random.default_rng(seed).normal(size=(size, 2)).round(4)
    return [(a, b, "yes" if a + b > 0 else "no") for a, b in x.tolist()]


def opened(**settings):
    return open_examples(RunConfig.from_flags(**SHORT, **settings)).splits


def inputs(part):
    return {tuple(row) for row in part.tensors["x"].double().numpy().round(4).tolist()}


def given(part):
    return {tuple(np.float64(np.float32(value)).round(4) for value in row[:2]) for row in part}


def test_test_and_validation_rows_come_from_their_files_with_every_seed(tmp_path):
    train, validation, test = rows(100, 0), rows(30, 1), rows(40, 2)
    files = {"data": write(tmp_path / "train.csv", train), "test": write(tmp_path / "test.csv", test)}
    named = write(tmp_path / "validation.csv", validation)
    for seed in range(3):
        splits = opened(**files, validation=named, seed=seed)
        assert [inputs(part) for _, part in splits] == [given(train), given(validation), given(test)]
        # A fraction is taken of the rows that have no file.
        splits = opened(**files, validation=0.2, seed=seed)
        assert (splits.train.size, splits.validation.size) == (80, 20)
        assert inputs(splits.test) == given(test)


def test_what_split_writes_can_be_run_with(tmp_path, capsys):
    write(tmp_path / "all.csv", rows())
    assert main(["split", str(tmp_path / "all.csv"), "--out", str(tmp_path / "s")]) == 0
    words = ["--data", f"{tmp_path}/s/train.csv", "--validation", f"{tmp_path}/s/validation.csv"]
    words += ["--test", f"{tmp_path}/s/test.csv", "--student", "mlp:8", "--steps", "20", "--no-progress"]
    assert main(["run", "supervised", *words, "--out", str(tmp_path / "run")]) == 0
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    sizes = {name: len((tmp_path / "s" / f"{name}.csv").read_text().splitlines()) - 1 for name in NAMES}
    assert stored["data"]["sizes"] == sizes
    assert sum(sizes.values()) == 200 and 38 <= sizes["test"] <= 42
    assert stored["config"]["split"]["test"] == f"{tmp_path}/s/test.csv"
    (tmp_path / "run.toml").write_text(f'method = "supervised"\n[split]\ntest = "{tmp_path}/s/test.csv"\n')
    words = ["--config", str(tmp_path / "run.toml"), "--data", f"{tmp_path}/s/train.csv", "--student", "mlp:8"]
    assert main(["run", *words, "--steps", "5", "--no-progress", "--out", str(tmp_path / "again")]) == 0
    assert json.loads((tmp_path / "again" / "config.json").read_text())["data"]["sizes"]["test"] == sizes["test"]


def test_columns_say_how_rows_are_split_and_are_no_inputs(tmp_path):
    found = rows(120)
    names = ("a", "b", "label", "person", "day", "part")
    table = [
        (*row, f"p{i // 4}", f"2024-01-{1 + i // 4:02d}", ["Train", "train", "val", "TEST"][i % 4])
        for i, row in enumerate(found)
    ]
    data = write(tmp_path / "table.csv", table, names)
    by_split = opened(data=data, split_column="part", group_column="person", time_column="day")
    assert by_split.train.shape == (2,)
    assert inputs(by_split.test) == given([row for row in table if row[5] == "TEST"])
    assert inputs(by_split.validation) == given([row for row in table if row[5] == "val"])
    data = write(tmp_path / "dated.csv", [row[:5] for row in table], names[:5])
    by_time = opened(data=data, time_column="day", group_column="person")
    assert inputs(by_time.test) <= given(table[90:])
    assert by_time.test.size == 24
    by_group = opened(data=write(tmp_path / "g.csv", [row[:4] for row in table], names[:4]), group_column="person")
    people = [set(part.tensors["group"].tolist()) for _, part in by_group]
    assert sum(map(len, people)) == 30


def test_arrays_can_say_how_they_are_split(tmp_path):
    found = rows(60)
    x, label = np.array([row[:2] for row in found]), np.array([row[2] for row in found])
    part = np.array(["train", "train", "test"] * 20)
    np.savez(tmp_path / "data.npz", x=x, label=label, part=part, patient=np.arange(60) // 3)
    splits = opened(data=str(tmp_path / "data.npz"), split_column="part")
    assert inputs(splits.test) == {tuple(np.float64(np.float32(v)).round(4) for v in row) for row in x[part == "test"]}
    assert splits.validation.size == 0
    splits = opened(data=str(tmp_path / "data.npz"), group_column="patient")
    assert sum(len(part.tensors["group"].unique()) for _, part in splits) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": "other.csv"}, "different columns: 'c' is only in one"),
        ({"test": "nowhere.csv"}, "test is 'nowhere.csv', which is no table"),
        ({"group_column": "who"}, "has no column 'who' for group_column"),
        (
            {"split_column": "label"},
            "split_column 'label' is '(yes|no)' in row 1; it must be train, validation or test",
        ),
        ({"time_column": "label"}, "neither a number nor a date"),
        ({"data": "digits", "test": "other.csv"}, "cannot go with data that come from no file"),
        ({"data": "digits", "group_column": "who"}, "group_column is 'who', which means nothing for the built-in"),
    ],
)
def test_what_cannot_say_how_rows_are_split_is_refused(tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data.csv", rows(30))
    write(tmp_path / "other.csv", [(1.0, 2.0, "no", 3)] * 5, ("a", "b", "label", "c"))
    with pytest.raises(DidactError, match=message):
        opened(**{"data": "data.csv", **settings})
