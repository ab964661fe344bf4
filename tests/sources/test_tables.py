import json

import numpy as np
import pandas as pd
import pytest
import torch

from didact import sources
from didact.errors import ConfigError, DataError
from didact.types import IGNORE, Column

CSV = """size,colour,grown,answer
1.5,red,True,yes
2.0,blue,False,no
-3.25,red,False,yes
4,green,True,
0,blue,True,no
1,red,False,yes
"""
X = [  # size, blue, green, red, grown
    [1.5, 0, 0, 1, 1],
    [2.0, 1, 0, 0, 0],
    [-3.25, 0, 0, 1, 0],
    [4, 0, 1, 0, 1],
    [0, 1, 0, 0, 1],
    [1, 0, 0, 1, 0],
]


def write(folder, text, name="table.csv"):
    (folder / name).write_text(text)
    return folder / name


def frame_files(frame, folder):
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    frame.to_json(folder / "t.jsonl", orient="records", lines=True)
    return [folder / f"t.{suffix}" for suffix in ("csv", "parquet", "jsonl")]


def test_a_csv_becomes_numbers_and_sorted_categories(tmp_path):
    examples = sources.load(write(tmp_path, CSV), target="answer")
    assert examples.tensors["x"].dtype == torch.float32
    assert examples.tensors["x"].tolist() == X
    assert examples.columns == (Column("size"), Column("colour", ("blue", "green", "red")), Column("grown"))
    assert examples.tensors["label"].tolist() == [1, 0, 1, IGNORE, 0, 1]
    assert examples.classes == ("no", "yes")
    assert (examples.task, examples.modality, examples.name) == ("classification", "table", "table.csv")
    assert examples.batch().check().size == 6


def test_every_kind_of_file_gives_the_same_examples(tmp_path):
    frame = pd.read_csv(write(tmp_path, CSV))
    expected = sources.load(tmp_path / "table.csv", target="answer")
    for path in frame_files(frame, tmp_path):
        examples = sources.load(path, target="answer")
        for key, tensor in expected.tensors.items():
            assert torch.equal(tensor, examples.tensors[key]), (path, key)
        assert (examples.columns, examples.classes) == (expected.columns, expected.classes)
        assert sources.fingerprint(examples) == sources.fingerprint(expected)


def test_ids_survive_another_order_added_rows_and_another_order_of_columns(tmp_path):
    ids = sources.load(write(tmp_path, CSV), target="answer").tensors["id"]
    lines = CSV.splitlines()
    shuffled = [lines[0], "7,violet,True,yes", *(lines[i] for i in (4, 2, 6, 1, 5, 3)), "8,violet,True,no"]
    again = sources.load(write(tmp_path, "\n".join(shuffled)), target="answer").tensors["id"]
    assert again[[4, 2, 6, 1, 5, 3]].tolist() == ids.tolist()
    frame = pd.read_csv(write(tmp_path, CSV))
    frame[["answer", "grown", "size", "colour"]].to_csv(tmp_path / "other.csv", index=False)
    assert torch.equal(sources.load(tmp_path / "other.csv", target="answer").tensors["id"], ids)


def test_only_equal_rows_have_equal_ids(tmp_path):
    path = write(tmp_path, "a,b,y\n1,2,x\n2,1,x\n1,2,z\n0,0,z\n-0.0,0,x\n")
    ids = sources.load(path).tensors["id"].tolist()
    assert ids[0] == ids[2]
    assert ids[3] == ids[4]
    assert len(set(ids)) == 3


def test_an_id_column_names_the_rows_whatever_its_type(tmp_path):
    frame = pd.DataFrame({"key": [3, 1, 2], "x": [1.0, 1.0, 1.0], "y": ["a", "b", "a"]})
    loaded = [sources.load(path, id_column="key").tensors["id"] for path in frame_files(frame, tmp_path)]
    words = frame.assign(key=["3", "1", "2"])
    loaded += [sources.load(path, id_column="key").tensors["id"] for path in frame_files(words, tmp_path)]
    assert all(torch.equal(ids, loaded[0]) for ids in loaded)
    assert loaded[0].unique().numel() == 3
    assert sources.load(tmp_path / "t.csv", id_column="key").columns == (Column("x"),)


@pytest.mark.parametrize(
    ("values", "task", "expected", "classes", "label"),
    [
        (["b", "a", "b"], None, "classification", ("a", "b"), [1, 0, 1]),
        ([10, 9, 10], None, "classification", ("9", "10"), [1, 0, 1]),
        (["10", "9", "x"], None, "classification", ("10", "9", "x"), [0, 1, 2]),
        ([True, False, True], None, "classification", ("False", "True"), [1, 0, 1]),
        ([1.0, 2.5, 1.0], None, "regression", (), [1.0, 2.5, 1.0]),
        ([1.0, 2.0, 1.0], "classification", "classification", ("1", "2"), [0, 1, 0]),
        ([1, 2, 5], "regression", "regression", (), [1.0, 2.0, 5.0]),
        ([7.0, None, 8.0], None, "classification", ("7", "8"), [0, IGNORE, 1]),
    ],
)
def test_the_task_follows_from_the_target(tmp_path, values, task, expected, classes, label):
    frame = pd.DataFrame({"x": [1, 2, 3], "y": values})
    for path in frame_files(frame, tmp_path)[:2]:
        examples = sources.load(path, task=task)
        assert (examples.task, examples.classes) == (expected, classes)
        assert examples.tensors["label"].tolist() == label


def test_many_integers_are_a_quantity_and_gaps_are_nan(tmp_path):
    rows = [{"x": i, "y": i * 3} for i in range(60)] + [{"x": 7}]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl")
    examples = sources.load(path)
    assert examples.task == "regression"
    assert examples.tensors["label"].dtype == torch.float32
    assert examples.tensors["label"][:60].tolist() == [i * 3.0 for i in range(60)]
    assert examples.tensors["label"][60].isnan()


def test_the_index_that_pandas_writes_is_left_out(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "a"]}, index=[5, 2, 9])
    frame.to_csv(tmp_path / "t.csv")
    assert sources.load(tmp_path / "t.csv").columns == (Column("x"),)


def test_numbers_written_as_strings_are_numbers(tmp_path):
    path = write(tmp_path, '{"x": "1.5", "y": "a"}\n{"x": "-2", "y": "b"}\n', "t.jsonl")
    examples = sources.load(path)
    assert examples.tensors["x"].tolist() == [[1.5], [-2.0]]


def test_missing_values_are_let_through_when_they_will_be_imputed(tmp_path):
    path = write(tmp_path, "a,b,y\n1,red,x\n,blue,x\n3,,z\n4,red,z\n")
    x = sources.load(path, impute="mean").tensors["x"]
    expected = [[1, 0, 1], [np.nan, 1, 0], [3, np.nan, np.nan], [4, 0, 1]]
    np.testing.assert_array_equal(x.numpy(), np.array(expected, dtype=np.float32))


WORDS = "\n".join(f"{i},name{i},{'ab'[i % 2]}" for i in range(8))
PROSE = "\n".join(f"{i},this is sentence {i},{'ab'[i % 2]}" for i in range(8))
BAD = {
    "missing target column": ("labl", "x,label\n1,a\n2,b\n", r"no column 'labl' for target. Did you mean label\?"),
    "no target named": (None, "x,z\n1,a\n2,b\n", "target is not given, .* Name one of x, z"),
    "constant target": (None, "x,y\n1,a\n2,a\n", "target 'y' is 'a' in every row"),
    "constant quantity": (None, "x,y\n1,.5\n2,.5\n", "target 'y' is '0.5' in every row"),
    "empty target": (None, "x,y\n1,\n2,\n", "target 'y' has no value in any of its 2 rows"),
    "infinite target": (None, "x,y\n1,0.5\n2,inf\n", "target 'y' is infinite in row 2"),
    "text in a number": (
        None,
        "x,y\n1,a\noops,b\n3,a\n",
        r"column 'x' holds numbers, but 1 of its 3 cells hold something else \(row 2: 'oops'\)",
    ),
    "names": (None, f"x,name,y\n{WORDS}", "'name' holds text where numbers belong: 8 different .* 'name0' in row 1"),
    "prose beside numbers": (None, f"x,said,y\n{PROSE}", "'said' holds text where .* text_column"),
    "missing cells": (
        None,
        "a,b,y\n1,,x\n,,z\n3,red,x\n4,red,x\n",
        r"missing in 'a' \(1, first in row 2\), 'b' \(2, first in row 1\); .* choose impute",
    ),
    "infinite cell": (None, "a,b,y\n1,1,x\n2,-inf,z\n", "column 'b' is -inf in row 2"),
    "too large for 32 bits": (None, "a,y\n1,x\n2e39,z\n", "column 'a' is 2e\\+39 in row 2"),
    "empty column": (None, "a,b,y\n1,,x\n2,,z\n", "column 'b' has no value in any row"),
    "no rows": (None, "a,y\n", "has no rows"),
    "nothing": (None, "", "not a readable CSV"),
    "ragged": (None, "a,y\n1,2\n1,2,3\n", "not a readable CSV .*line 3"),
    "more cells than names": (None, "a,y\n1,2,3\n4,5,6\n", "more cells in a row than names"),
    "nameless column": (None, "a,,y\n1,2,b\n4,5,c\n", "no name for column 2"),
    "target alone": (None, "y\na\nb\n", "no column beside the target"),
    "distinct targets": (
        "y",
        "x,y\n" + "\n".join(f"{i},w{i}" for i in range(60)),
        "60 distinct values in 60 rows, .* task='regression'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_with_place_and_remedy(tmp_path, case):
    target, text, message = BAD[case]
    with pytest.raises(DataError, match=message):
        sources.load(write(tmp_path, text), target=target)


def test_a_quantity_cannot_be_words(tmp_path):
    with pytest.raises(DataError, match="'y' holds text such as 'a', so that task='regression' cannot work"):
        sources.load(write(tmp_path, "x,y\n1,a\n2,b\n"), task="regression")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"x": 1, "y": "a"}\n\n{"x": 2,\n', "line 3 is not JSON"),
        ('{"x": 1, "y": "a"}\n[1, 2]\n', "line 2 is a list, but every line must be a JSON object"),
        ('{"x": [1], "y": "a"}\n{"x": [2], "y": "b"}\n', "column 'x' holds list such as"),
        ('{"x": 1, "y": ["a"]}\n{"x": 2, "y": ["b"]}\n', "target 'y' holds lists"),
    ],
)
def test_bad_lines_of_json_are_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        sources.load(write(tmp_path, lines, "t.jsonl"))


def test_mixed_numbers_and_words_in_json_are_words(tmp_path):
    rows = [{"x": 1, "c": "a", "y": 0}, {"x": 2, "c": 5, "y": 1}, {"x": 3, "c": "a", "y": 0}]
    examples = sources.load(write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl"))
    assert examples.columns[1] == Column("c", ("5", "a"))


def test_dates_are_refused(tmp_path):
    frame = pd.DataFrame({"when": pd.to_datetime(["2020-01-01", "2021-01-01"]), "y": [0, 1]})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="'when' holds Timestamp such as '2020-01-01"):
        sources.load(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("keys", "message"),
    [(["a", "a"], "id column 'key' is 'a' in rows 1, 2"), (["a", None], "id column 'key' is empty in row 2")],
)
def test_bad_ids_are_refused(tmp_path, keys, message):
    pd.DataFrame({"key": keys, "x": [1, 2], "y": [0, 1]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        sources.load(tmp_path / "t.parquet", id_column="key")


def test_files_that_are_not_there_or_not_data_are_refused(tmp_path):
    write(tmp_path, CSV)
    with pytest.raises(DataError, match=r"no file or folder .*tabel.csv'. Did you mean table.csv\?"):
        sources.load(tmp_path / "tabel.csv")
    for name, message in (("t.pkl", "pickled Python objects, which didact never loads"), ("t.doc", "unknown kind")):
        with pytest.raises(DataError, match=message):
            sources.load(write(tmp_path, "x", name))
    with pytest.raises(DataError, match="not a readable Parquet file"):
        sources.load(write(tmp_path, "x", "t.parquet"))


@pytest.mark.parametrize(
    "options", [{"split": "train"}, {"image_size": 8}, {"task": "ranking"}, {"impute": "zero"}, {"max_length": 2}]
)
def test_options_that_mean_nothing_are_refused(tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        sources.load(write(tmp_path, CSV), target="answer", **options)


def test_an_unknown_text_or_id_column_is_refused(tmp_path):
    path = write(tmp_path, CSV)
    with pytest.raises(DataError, match=r"no column 'color' for text_column. Did you mean colour\?"):
        sources.load(path, target="answer", text_column="color")
    with pytest.raises(DataError, match="id_column and target are both 'answer'"):
        sources.load(path, target="answer", id_column="answer")
