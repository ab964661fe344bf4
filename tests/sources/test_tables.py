import gzip
import json

import numpy as np
import pandas as pd
import pytest
import torch

from didact import sources
from didact.errors import ConfigError, DataError
from didact.preprocessing import TableOptions
from didact.sources import delimited, tables
from didact.types import IGNORE

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


def load(path, **options):
    """A file whose rows are all training rows."""
    examples = sources.load(path, **options)
    return sources.fit_preprocessing(examples)(examples)


def columns(examples):
    """The names of the columns that something is learned from, with their categories."""
    return {column.name: getattr(column, "values", None) for column in examples.preprocessing.columns if column.width}


def frame_files(frame, folder):
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    frame.to_json(folder / "t.jsonl", orient="records", lines=True)
    return [folder / f"t.{suffix}" for suffix in ("csv", "parquet", "jsonl")]


def test_a_csv_becomes_numbers_and_sorted_categories(tmp_path):
    examples = load(write(tmp_path, CSV), target="answer")
    assert examples.tensors["x"].dtype == torch.float32
    assert examples.tensors["x"].tolist() == X
    assert columns(examples) == {"size": None, "colour": ("blue", "green", "red"), "grown": None}
    assert examples.tensors["label"].tolist() == [1, 0, 1, IGNORE, 0, 1]
    assert examples.classes == ("no", "yes")
    assert (examples.task, examples.modality, examples.name) == ("classification", "table", "table.csv")
    assert examples.batch().check().size == 6


def test_every_kind_of_file_gives_the_same_examples(tmp_path):
    frame = pd.read_csv(write(tmp_path, CSV))
    expected = load(tmp_path / "table.csv", target="answer")
    for path in frame_files(frame, tmp_path):
        examples = load(path, target="answer")
        for key, tensor in expected.tensors.items():
            assert torch.equal(tensor, examples.tensors[key]), (path, key)
        assert (examples.preprocessing, examples.classes) == (expected.preprocessing, expected.classes)
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
    frame = pd.DataFrame({"key": [3, 1, 2], "x": [1.0, 2.0, 2.0], "y": ["a", "b", "a"]})
    loaded = [sources.load(path, id_column="key").tensors["id"] for path in frame_files(frame, tmp_path)]
    words = frame.assign(key=["3", "1", "2"])
    loaded += [sources.load(path, id_column="key").tensors["id"] for path in frame_files(words, tmp_path)]
    assert all(torch.equal(ids, loaded[0]) for ids in loaded)
    assert loaded[0].unique().numel() == 3
    assert columns(load(tmp_path / "t.csv", id_column="key")) == {"x": None}


@pytest.mark.parametrize(
    ("values", "task", "expected", "classes", "label"),
    [
        (["b", "a", "b"], None, "classification", ("a", "b"), [1, 0, 1]),
        ([10, 9, 10], None, "classification", ("9", "10"), [1, 0, 1]),
        (["10", "9", "x"], None, "classification", ("10", "9", "x"), [0, 1, 2]),
        ([True, False, True], None, "classification", ("False", "True"), [1, 0, 1]),
        ([1.0, 2.5, 1.0], None, "regression", (), [1.0, 2.5, 1.0]),
        ([1.0, 2.0, 1.0], None, "classification", ("1", "2"), [0, 1, 0]),
        ([1.0, 2.5, 1.0], "classification", "classification", ("1", "2.5"), [0, 1, 0]),
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


@pytest.mark.parametrize("gap", [False, True])
def test_whole_numbers_are_classes_however_many_and_it_is_said(tmp_path, gap):
    rows = [{"x": i, "y": i % 60 * 3} for i in range(180)] + [{"x": 7}] * gap
    examples = sources.load(write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl"))
    assert examples.classes == tuple(str(3 * i) for i in range(60))
    assert examples.tensors["label"].tolist() == [i % 60 for i in range(180)] + [IGNORE] * gap
    assert examples.notes == (
        "The target 'y' holds whole numbers, which are taken for 60 classes; say task='regression' (--task) if they "
        "are quantities.",
    )
    said = sources.load(tmp_path / "t.jsonl", task="classification")
    assert said.notes == ()


def test_floats_that_are_whole_are_classes_while_there_are_few(tmp_path):
    for many, task in ((50, "classification"), (51, "regression")):
        frame = pd.DataFrame({"x": range(200), "y": [float(i % many) for i in range(200)]})
        frame.to_parquet(tmp_path / "t.parquet")
        examples = sources.load(tmp_path / "t.parquet")
        assert examples.task == task
        assert task in ("classification", "regression")
        assert "whole numbers" in examples.notes[0]


def test_class_names_that_look_like_missing_marks_are_classes(tmp_path):
    names = ["NA", "EU", "APAC", "null", "None", "nan", "N/A"]
    frame = pd.DataFrame({"x": range(14), "y": names * 2})
    for path in frame_files(frame, tmp_path):
        examples = sources.load(path)
        assert examples.classes == tuple(sorted(names))
        assert int((examples.tensors["label"] == IGNORE).sum()) == 0
        marked = sources.load(path, columns=TableOptions(missing=("NA", "N/A", "nan", "None", "null")))
        assert marked.classes == ("APAC", "EU")
        assert int((marked.tensors["label"] == IGNORE).sum()) == 10


def test_among_numbers_such_a_mark_is_a_gap(tmp_path):
    examples = sources.load(write(tmp_path, "x,y\n1,0.5\n2,NA\n3,1.5\n"))
    assert examples.task == "regression"
    assert examples.tensors["label"].isnan().tolist() == [False, True, False]


def test_targets_become_labels_in_64_bits_and_are_standardised_by_training_rows(tmp_path):
    values = [1e9 + 0.25 * step for step in range(8)]
    frame = pd.DataFrame({"x": range(8), "y": values})
    frame.to_parquet(tmp_path / "t.parquet")
    examples = sources.load(tmp_path / "t.parquet", task="regression")
    prepared = sources.fit_preprocessing(examples.select(torch.arange(4)))(examples)
    mean, std = np.mean(values[:4]), np.std(values[:4])
    np.testing.assert_allclose(prepared.tensors["label"].numpy(), (np.array(values) - mean) / std, rtol=1e-6)
    assert prepared.tensors["label"].dtype == torch.float32
    np.testing.assert_array_equal(prepared.scale.invert(prepared.tensors["label"]).numpy().round(2), values)


def test_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="several columns called 'label'"):
        sources.load(write(tmp_path, "x,label,label\n1,a,a\n2,b,b\n"))
    with pytest.raises(DataError, match="several columns called 'x'"):
        sources.from_frame(pd.DataFrame([[1, 2, "a"], [3, 4, "b"]], columns=["x", "x", "y"]))


def test_whole_64_bit_ids_stay_apart(tmp_path):
    ids = [2**63 + 1, 2**63 + 2, 2**64 - 1, 3]
    lines = [json.dumps({"id": number, "x": place, "y": "ab"[place % 2]}) for place, number in enumerate(ids)]
    found = sources.load(write(tmp_path, "\n".join(lines), "t.jsonl"), id_column="id").tensors["id"]
    words = [json.dumps({"id": str(number), "x": place, "y": "ab"[place % 2]}) for place, number in enumerate(ids)]
    expected = sources.load(write(tmp_path, "\n".join(words), "t.jsonl"), id_column="id").tensors["id"]
    assert torch.equal(found, expected)
    assert found.unique().numel() == 4


def test_postcodes_keep_their_zeros_in_every_kind_of_file(tmp_path):
    rows = "".join(f"{code},{x},{'ab'[x % 2]}\n" for x, code in enumerate(["01186", "75001"] * 4))
    examples = load(write(tmp_path, "code,x,y\n" + rows))
    assert columns(examples) == {"code": ("01186", "75001"), "x": None}
    assert examples.tensors["x"][:2].tolist() == [[1, 0, 0], [0, 1, 1]]


def test_numbers_with_thousands_separators_are_numbers(tmp_path):
    examples = load(write(tmp_path, 'x,y\n"1,000.50",a\n2,b\n"12,345",a\n'))
    assert examples.tensors["x"].tolist() == [[1000.5], [2], [12345]]


def test_suffixes_may_be_in_capitals(tmp_path):
    assert load(write(tmp_path, CSV, "TABLE.CSV"), target="answer").tensors["x"].tolist() == X


def test_the_index_that_pandas_writes_is_left_out(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "a"]}, index=[5, 2, 9])
    frame.to_csv(tmp_path / "t.csv")
    assert columns(load(tmp_path / "t.csv")) == {"x": None}


def test_numbers_written_as_strings_are_numbers(tmp_path):
    path = write(tmp_path, '{"x": "1.5", "y": "a"}\n{"x": "-2", "y": "b"}\n', "t.jsonl")
    assert load(path).tensors["x"].tolist() == [[1.5], [-2.0]]


def test_missing_values_are_filled_and_marked(tmp_path):
    path = write(tmp_path, "a,b,y\n1,red,x\n,blue,x\n3,,z\n8,red,z\n")
    examples = load(path)
    # a, whether it is missing; blue, red, missing
    assert examples.tensors["x"].tolist() == [[1, 0, 0, 1, 0], [3, 1, 1, 0, 0], [3, 0, 0, 0, 1], [8, 0, 0, 1, 0]]
    filled = load(path, columns=TableOptions(impute="mean")).tensors["x"]
    assert filled[1].tolist() == [4, 1, 1, 0, 0]


def test_nothing_is_learned_from_other_splits(tmp_path):
    path = write(tmp_path, "a,b,y\n1,red,x\n2,blue,z\n3,red,x\n1000,green,z\n,,x\n")
    examples = sources.load(path)
    prepared = sources.fit_preprocessing(examples.select(torch.arange(3)))(examples)
    assert prepared.tensors["x"].tolist() == [[1, 0, 1], [2, 1, 0], [3, 0, 1], [1000, 0, 0], [2, 0, 1]]


GERMAN = "größe;ort;y\n1,5;Köln;a\n;Zürich;b\n-2,25;Köln;a\n1000;Zürich;b\n"


@pytest.mark.parametrize(
    ("name", "encoding"), [("t.csv", "utf-8"), ("t.csv", "cp1252"), ("t.tsv", "utf-16"), ("t.csv", "utf-8-sig")]
)
def test_semicolons_decimal_commas_and_other_encodings_are_read_and_said(tmp_path, name, encoding):
    (tmp_path / name).write_bytes(GERMAN.encode(encoding))
    examples = load(tmp_path / name)
    assert columns(examples) == {"größe": None, "ort": ("Köln", "Zürich")}
    assert examples.tensors["x"].tolist() == [[1.5, 0, 1, 0], [1.5, 1, 0, 1], [-2.25, 0, 1, 0], [1000, 0, 0, 1]]
    said = f"The cells of {name} are separated by ';', and a comma in a number is its decimal point."
    assert examples.notes[0] == said
    assert len(examples.notes) == 1 + (encoding == "cp1252")
    assert encoding != "cp1252" or "is not UTF-8 and is read as cp1252" in examples.notes[1]


@pytest.mark.parametrize("separator", "\t|;")
def test_the_first_line_says_what_separates_cells(tmp_path, separator):
    text = f'a,b,"x{separator}y{separator}",answer\n1,2,3,u\n4,5,6,v\n'
    assert list(columns(load(write(tmp_path, text), target="answer"))) == ["a", "b", f"x{separator}y{separator}"]
    other = load(write(tmp_path, CSV.replace(",", separator)), target="answer")
    assert other.tensors["x"].tolist() == X
    assert ("a tab" if separator == "\t" else repr(separator)) in other.notes[0]


def test_compressed_text_and_feather_are_tables_too(tmp_path):
    frame = pd.read_csv(write(tmp_path, CSV))
    expected = load(tmp_path / "table.csv", target="answer")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    frame.to_json(tmp_path / "t.jsonl.gz", orient="records", lines=True)
    frame.to_feather(tmp_path / "t.feather")
    for name in ("t.csv.gz", "t.jsonl.gz", "t.feather"):
        found = load(tmp_path / name, target="answer")
        assert all(torch.equal(tensor, found.tensors[key]) for key, tensor in expected.tensors.items()), name


def test_numbers_of_text_are_the_nearest_floats(tmp_path):
    written = [repr(float(number)) for number in np.random.default_rng(0).normal(size=500) * 1e-7]
    frame, _ = tables.read(write(tmp_path, "x,y\n" + "".join(f"{number},a\n" for number in written)))
    assert [repr(float(number)) for number in frame["x"]] == written


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", " 2", ""], "Int64"),
        (["1", "-2.5e3", ""], "Float64"),
        (["true", "False", ""], "boolean"),
        (["18446744073709551615", "1", ""], "UInt64"),
        (["18446744073709551616", "1", "2"], "string"),
        (["0x1F", "12", "13"], "string"),
        (["01186", "75001", ""], "string"),
        (["1.5", "nan", "2"], "string"),
        (["NA", "1", "2"], "string"),
        (["True", "1", "0"], "string"),
    ],
)
def test_columns_of_text_get_the_narrowest_type(tmp_path, cells, dtype):
    frame, _ = tables.read(write(tmp_path, "x,y\n" + "".join(f"{cell},a\n" for cell in cells)))
    assert str(frame["x"].dtype) == dtype
    assert frame["x"].isna().tolist() == [not cell for cell in cells]
    parts = pd.concat(tables.read_chunks(tmp_path / "table.csv", 2, {"x"}))
    assert parts["x"].fillna("").tolist() == cells


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
    "prose beside numbers": (None, f"x,said,y\n{PROSE}", "'said' holds prose, such as 'this is sentence 0' in row 1"),
    "infinite cell": (
        None,
        "a,b,y\n1,1,x\n2,-inf,z\n",
        r"'b' is not finite as a 32-bit number in 1 cells \(row 2: '-inf'",
    ),
    "too large for 32 bits": (None, "a,y\n1,x\n2e39,z\n", r"'a' is not finite as a 32-bit number .*row 2: '2e\+39'"),
    "several at once": (
        None,
        f"x,said,y\n{PROSE}\noops,this is no number,a\n",
        r"(?s)for 2 reasons:\n  1. .*'x' holds numbers, but 1 of its 9 cells .*\n  2. .*'said' holds prose",
    ),
    "no rows": (None, "a,y\n", "has no rows"),
    "nothing": (None, "", "not a readable CSV"),
    "ragged": (None, "a,y\n1,2\n1,2,3\n", "not a readable CSV file: line 3 has 3 cells"),
    "fewer cells than names": (None, "a,y\n1,x\n2\n", "line 3 has 1 cells, but the first line has 2 names"),
    "no names": (None, "5.1,3.5,x\n4.9,3.0,z\n", "no names in its first line, but 5.1, 3.5, x; put a line with a name"),
    "numbers for names": (None, "0,5,13,1\n0,9,2,0\n", "no names in its first line"),
    "dates for names": (None, "2021-03-04,x\n2021-03-05,z\n", "no names in its first line"),
    "more cells than names": (None, "a,y\n1,2,3\n4,5,6\n", "line 2 has 3 cells, but the first line has 2 names"),
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
        ('{"x": 1, "x": 2, "y": "a"}\n', "line 1 is not JSON: the key 'x' comes twice"),
        ('{"x": "\\ud83d", "y": "a"}\n', r"line 1 is not JSON: it holds '\\ud83d', which is half of a character"),
        ('{"x": [1], "y": "a"}\n{"x": [2], "y": "b"}\n', "column 'x' cannot be used: it holds lists"),
        ('{"x": 1, "y": ["a"]}\n{"x": 2, "y": ["b"]}\n', "target 'y' holds lists"),
    ],
)
def test_bad_lines_of_json_are_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        sources.load(write(tmp_path, lines, "t.jsonl"))


def test_mixed_numbers_and_words_in_json_are_words(tmp_path):
    rows = [{"x": 1, "c": "a", "y": 0}, {"x": 2, "c": 5, "y": 1}, {"x": 3, "c": "a", "y": 0}]
    assert columns(load(write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl"))) == {"x": None, "c": ("5", "a")}


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


@pytest.mark.parametrize("options", [{"split": "train"}, {"image_size": 8}, {"task": "ranking"}, {"max_length": 2}])
def test_options_that_mean_nothing_are_refused(tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        sources.load(write(tmp_path, CSV), target="answer", **options)


def test_an_unknown_text_or_id_column_is_refused(tmp_path):
    path = write(tmp_path, CSV)
    with pytest.raises(DataError, match=r"no column 'color' for text_column. Did you mean colour\?"):
        sources.load(path, target="answer", text_column="color")
    with pytest.raises(DataError, match="id_column and target are both 'answer'"):
        sources.load(path, target="answer", id_column="answer")


def test_answers_are_written_as_pandas_writes_them(monkeypatch):
    generator, rows = np.random.default_rng(0), 2_000
    scales = 10.0 ** generator.integers(-12, 20, rows)
    frame = pd.DataFrame(
        {
            "an,id": [f'w"{row % 7},\n' if row % 5 else None for row in range(rows)],
            "word": ["x", "", "a\r", "b c"] * (rows // 4),
            "row": range(rows),
            "double": generator.normal(size=rows) * scales,
            "single": (generator.normal(size=rows) * scales).astype(np.float32),
            "share": generator.random(rows),
            "short": generator.normal(size=rows).round(1),
        }
    )
    frame.loc[:6, "double"] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-4, 5e-324]
    frame.loc[:3, "single"] = [np.nan, np.inf, 1e-4, 2.5e5]
    mixed = [[1, None, 2.5], [True, "a", 1], [pd.Timestamp(2020, 1, 1), None, None], [1, 2, 10**30], [None] * 3]
    others = [pd.DataFrame({"id": ids, "x": [0.5, 0.25, 1.0]}) for ids in mixed]
    wanted = [one.to_csv(index=False) for one in (frame, *others)]
    assert [delimited.text_of(one, names=True) for one in (frame, *others)] == wanted
    assert delimited.text_of(frame[5:], names=False) == frame[5:].to_csv(index=False, header=False)
    # The fast way is taken, without pandas.
    monkeypatch.setattr(pd.DataFrame, "to_csv", None)
    assert delimited.text_of(frame, names=False) == wanted[0].split("\n", 1)[1]
