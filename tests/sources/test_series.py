"""Series in arrays, tables and files, as people have them."""

import numpy as np
import pandas as pd
import pytest
import torch

from didact import sources
from didact.errors import DataError
from didact.preprocessing import TableOptions
from didact.sources import series
from didact.sources.objects import from_object
from didact.types import IGNORE

rng = np.random.default_rng(0)
NAN = np.nan
Y = np.array([0, 1, 0, 1])


def values(examples):
    return examples.rows.values


@pytest.mark.parametrize(
    ("x", "asked", "expected"),
    [
        (rng.random((4, 3, 20)), None, "series"),
        (rng.random((4, 8, 8)), None, "image"),
        (rng.random((4, 8, 16)), None, "image"),
        (rng.random((4, 8, 17)), None, "series"),
        (rng.integers(0, 256, (4, 3, 20), dtype=np.uint8), None, "image"),
        (rng.random((4, 8, 8)), "series", "series"),
        (rng.random((4, 3, 20)), "image", "image"),
        (rng.random((4, 20)), None, "table"),
        (rng.random((4, 20)), "series", "series"),
        (rng.random((4, 3, 5, 6)), None, "image"),
    ],
)
def test_what_an_array_holds_is_decided_by_its_shape_and_told(x, asked, expected):
    examples = sources.from_tensors(x, Y, modality=asked)
    assert examples.modality == expected
    told = [note for note in examples.notes if "was taken for" in note]
    assert len(told) == (x.ndim == 3 and asked is None)
    if told:
        assert f"modality='{'image' if expected == 'series' else 'series'}'" in told[0]
    if expected == "series":
        np.testing.assert_array_equal(values(examples), x.reshape(4, -1, x.shape[-1]))


@pytest.mark.parametrize(("shape", "asked"), [((4, 5), "image"), ((4, 3, 20), "table"), ((4, 3, 5, 6), "series")])
def test_what_an_array_cannot_be_is_refused(shape, asked):
    with pytest.raises(DataError, match=rf"modality is '{asked}', which has the shape \["):
        sources.from_tensors(rng.random(shape), Y, modality=asked)


def test_images_out_of_range_are_told_how_to_become_series():
    with pytest.raises(DataError, match="--modality series"):
        sources.from_tensors(rng.normal(size=(4, 6, 6)), Y)


def test_lists_of_unequal_lengths_end_with_nothing():
    found = series.ragged([[1.0, 2.0, 3.0], [4.0]])
    np.testing.assert_array_equal(found, [[[1, 2, 3]], [[4, NAN, NAN]]])
    assert series.ragged([[1.0, 2.0], [3.0, 4.0]]) is None
    with pytest.raises(DataError, match=r"\[1, 2\] channels"):
        series.ragged([np.zeros((1, 3)), np.zeros((2, 4))])


UCR = {
    "tabs.tsv": "1\t0.5\t-1.5\t2.0\n2\t1.0\tNaN\t3.0\n1\t4.0\t5.0\tNaN\n",
    "spaces.txt": "  1.0000000e+00  5.0e-01 -1.5e+00 2.0\n  2.0e+00 1.0 NaN 3.0\n\n1.0 4.0 5.0\n",
    "commas.txt": "1,0.5,-1.5,2.0\n2,1.0,?,3.0\n1,4.0,5.0\n",
}


@pytest.mark.parametrize("name", UCR)
def test_files_of_the_ucr_archive(tmp_path, name):
    (tmp_path / name).write_text(UCR[name])
    examples = sources.load(tmp_path / name)
    assert (examples.modality, examples.classes) == ("series", ("1", "2"))
    assert examples.tensors["label"].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(values(examples)[:, 0], [[0.5, -1.5, 2], [1, NAN, 3], [4, 5, NAN]])
    assert any("1 series are shorter than 3 steps" in note for note in examples.notes)
    assert any("1 missing values of series" in note for note in examples.notes)


def test_a_tsv_with_names_is_a_table(tmp_path):
    (tmp_path / "t.tsv").write_text("label\ta\tb\nyes\t1\t2\nno\t2\t3\n")
    assert sources.load(tmp_path / "t.tsv").modality == "table"
    (tmp_path / "u.tsv").write_text("1\t2\t3\n4\t5\t6\n1\t2\t9\n")
    assert sources.load(tmp_path / "u.tsv", target="1").modality == "table"
    assert sources.load(tmp_path / "u.tsv", modality="series").modality == "series"


TS = """# A comment
@problemName Toy
@timeStamps false
@univariate false
@classLabel true left right
@data
1,2,3:4,5,6:left
7,?,9:NaN,8:right
1,1,1:2,2,2:left
"""


def test_files_of_sktime(tmp_path):
    (tmp_path / "toy.ts").write_text(TS)
    examples = sources.load(tmp_path / "toy.ts")
    assert examples.classes == ("left", "right")
    expected = [[[1, 2, 3], [4, 5, 6]], [[7, NAN, 9], [NAN, 8, NAN]], [[1, 1, 1], [2, 2, 2]]]
    np.testing.assert_array_equal(values(examples), expected)
    (tmp_path / "price.ts").write_text("@targetLabel true\n@data\n1,2:0.5\n3,4:1.25\n5,6:2.5\n")
    priced = sources.load(tmp_path / "price.ts")
    assert (priced.task, priced.tensors["label"].tolist()) == ("regression", [0.5, 1.25, 2.5])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.ts", "@timeStamps true\n@data\n(0,1.0),(1,2.0)\n", "line 3 has time stamps"),
        ("a.ts", "@classLabel true a b\n@data\n1,2:3,4:a\n1,2:b\n", r"\[1, 2\] channels|1 channels|2 channels"),
        ("a.txt", "1 2 3\n2 x 4\n", "line 2 holds 'x' where a number belongs"),
        ("a.txt", "1 2 3\n2\n", "line 2 has one cell"),
        ("a.txt", "\n", "has no rows"),
        ("a.txt", "1 2 inf\n2 3 4\n", "row 1 holds an infinite number"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        sources.load(tmp_path / name)


def test_test_rows_in_a_file_of_their_own_may_be_longer(tmp_path):
    (tmp_path / "X_TRAIN.tsv").write_text("1\t1\t2\n2\t3\t4\n1\t5\t6\n2\t7\t8\n")
    (tmp_path / "X_TEST.tsv").write_text("1\t1\t2\t3\n2\t3\t4\t5\n")
    examples = sources.load(tmp_path / "X_TRAIN.tsv", test_file=str(tmp_path / "X_TEST.tsv"))
    splits = sources.split(examples, validation=0.0, test=0.0)
    assert (splits.train.size, splits.test.size) == (4, 2)
    np.testing.assert_array_equal(values(splits.test)[:, 0], [[1, 2, 3], [3, 4, 5]])
    # A longer series elsewhere changes no id, and so no split.
    alone = sources.load(tmp_path / "X_TRAIN.tsv")
    assert torch.equal(splits.train.tensors["id"], alone.tensors["id"])


def test_the_columns_of_a_table_are_steps_where_the_user_says_so(tmp_path):
    frame = pd.DataFrame(
        {"who": ["a", "b", "c", "d"], "t0": [1, 2, 3, 4.5], "t1": [2, None, 4, 5], "y": ["n", "m"] * 2}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    examples = sources.load(tmp_path / "t.csv", target="y", id_column="who", modality="series")
    np.testing.assert_array_equal(values(examples)[:, 0], [[1, 2], [2, NAN], [3, 4], [4.5, 5]])
    known = sources.fit_preprocessing(examples)(examples).preprocessing
    assert known.columns == ("t0", "t1")
    frame.assign(t1=["x", "y", "z", "w"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="t1"):
        sources.load(tmp_path / "t.csv", target="y", id_column="who", modality="series")


def test_missing_classes_are_unlabelled(tmp_path):
    (tmp_path / "a.tsv").write_text("1\t1\t2\nNaN\t3\t4\n2\t5\t6\n")
    assert sources.load(tmp_path / "a.tsv").tensors["label"].tolist() == [0, IGNORE, 1]


def test_a_list_of_unequal_lengths_is_series_only_where_the_user_says_so():
    given = ([[1.0, 2.0, 4.0], [3.0]], ["a", "b"])
    reading = {"target": None, "task": None, "columns": TableOptions()}
    with pytest.raises(DataError, match="say modality='series'"):
        from_object(given, reading)
    examples = from_object(given, {**reading, "modality": "series", "standardise": "none"})
    np.testing.assert_array_equal(values(examples), [[[1, 2, 4]], [[3, NAN, NAN]]])
