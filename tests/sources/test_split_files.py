"""`didact split`: files of rows as they were."""

import csv
import gzip
import json

import pytest
from PIL import Image

from didact.cli import main
from didact.errors import ConfigError, DataError
from didact.sources import load, split
from didact.sources.split_files import split_file

# Cells that a reader of numbers would change: leading zeros, spaces, quotes, commas, line breaks and words for missing.
ODD = ["01186", " 1.50", 'say "no"', "a,b", "two\nlines", "NA", "", "1e3", "ü"]


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def table(count=200, classes=4):
    return [
        {"odd": ODD[i % len(ODD)], "number": str(i), "label": "abcdefgh"[i % classes], "person": str(i // 5)}
        for i in range(count)
    ]


def test_each_row_is_in_one_file_exactly_as_it_was(tmp_path):
    rows = table()
    found = split_file(write(tmp_path / "all.csv", rows), tmp_path / "out")
    parts = {name: rows_of(path) for name, path in found.paths.items()}
    assert (
        found.sizes == {name: len(part) for name, part in parts.items()} == {"train": 140, "validation": 20, "test": 40}
    )
    assert sorted((row for part in parts.values() for row in part), key=lambda row: int(row["number"])) == rows
    # Each keeps the order of the table, and each class its shares.
    for part in parts.values():
        numbers = [int(row["number"]) for row in part]
        assert numbers == sorted(numbers)
    assert sorted(row["label"] for row in parts["test"]) == sorted("abcd" * 10)


def test_another_order_and_seed(tmp_path):
    rows = table()
    one = split_file(write(tmp_path / "a.csv", rows), tmp_path / "a")
    same = split_file(write(tmp_path / "b.csv", rows[::-1]), tmp_path / "b")
    other = split_file(tmp_path / "a.csv", tmp_path / "c", seed=1)
    numbers = [{row["number"] for row in rows_of(found.paths["test"])} for found in (one, same, other)]
    assert numbers[0] == numbers[1] != numbers[2]


def test_groups_times_and_equal_inputs(tmp_path):
    rows = table()
    path = write(tmp_path / "all.csv", rows)
    by_person = split_file(path, tmp_path / "person", group_column="person")
    people = [{row["person"] for row in rows_of(part)} for part in by_person.paths.values()]
    assert sum(map(len, people)) == 40
    by_time = split_file(path, tmp_path / "time", time_column="number")
    assert [int(row["number"]) for row in rows_of(by_time.paths["test"])] == list(range(160, 200))
    dated = [{**row, "day": f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}"} for i, row in enumerate(rows)][::-1]
    by_date = split_file(write(tmp_path / "dated.csv", dated), tmp_path / "date", time_column="day", validation=0)
    assert set(by_date.paths) == {"train", "test"}
    assert sorted(int(row["number"]) for row in rows_of(by_date.paths["test"])) == list(range(160, 200))
    twice = [{**row, "number": str(i % 100)} for i, row in enumerate(rows)]
    twice = split_file(
        write(tmp_path / "twice.csv", [{**row, "odd": "", "person": ""} for row in twice]), tmp_path / "twice"
    )
    numbers = [{row["number"] for row in rows_of(part)} for part in twice.paths.values()]
    assert sum(map(len, numbers)) == 100


def test_lines_and_parquet_keep_their_types(tmp_path):
    pandas = pytest.importorskip("pandas")
    records = [{"x": [i, None], "id": i, "label": ["no", "yes", None][i % 3], "long": 2**60 + i} for i in range(90)]
    lines = tmp_path / "all.jsonl"
    lines.write_text("".join(f" {json.dumps(record)} \n\n" for record in records))
    found = split_file(lines, tmp_path / "lines", id_column="id")
    kept = [json.loads(line) for path in found.paths.values() for line in path.read_text().splitlines()]
    assert sorted(kept, key=lambda record: record["id"]) == records
    frame = pandas.DataFrame({"long": [2**60 + i for i in range(90)], "y": [float(i % 2) for i in range(90)]})
    frame.to_parquet(tmp_path / "all.parquet")
    found = split_file(tmp_path / "all.parquet", tmp_path / "parquet")
    kept = pandas.concat([pandas.read_parquet(path) for path in found.paths.values()]).sort_values("long")
    pandas.testing.assert_frame_equal(kept.reset_index(drop=True), frame)


def test_quantities_are_not_stratified_and_small_classes_are_named(tmp_path):
    rows = [{"x": str(i), "y": f"{i / 7:.3f}"} for i in range(300)]
    found = split_file(write(tmp_path / "quantity.csv", rows), tmp_path / "quantity")
    assert found.untested == ()
    assert 35 < found.sizes["test"] < 85
    rows = [{"x": str(i), "label": "one" if i == 3 else "ab"[i % 2]} for i in range(60)]
    assert split_file(write(tmp_path / "small.csv", rows), tmp_path / "small").untested == ("one",)


def test_text_of_any_separator_stays_as_it_was(tmp_path):
    text = "größe;label\n" + "".join(f"{i},50;{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "all.csv.gz").write_bytes(gzip.compress(text.encode("cp1252")))
    found = split_file(tmp_path / "all.csv.gz", tmp_path / "out", validation=0)
    lines = [path.read_text(encoding="utf-8").splitlines() for path in found.paths.values()]
    assert [part[0] for part in lines] == ["größe;label"] * 2
    assert sorted(lines[0][1:] + lines[1][1:]) == sorted(text.splitlines()[1:])


def test_questions_without_a_target_are_split_by_their_contents(tmp_path):
    records = [{"messages": [{"role": "user", "content": f"What is {i // 2}?"}]} for i in range(100)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    found = split_file(tmp_path / "all.jsonl", tmp_path / "out")
    parts = {name: path.read_text().splitlines() for name, path in found.paths.items()}
    assert sorted(line for part in parts.values() for line in part) == sorted(map(json.dumps, records))
    # Equal ones stay together.
    assert not set(parts["train"]) & set(parts["test"]) and len(parts["test"]) % 2 == 0


def test_images_are_linked_into_folders_that_can_be_run_with(tmp_path):
    for number in range(60):
        path = tmp_path / "all" / "ab"[number % 3 == 0] / "inner" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number // 2).save(path)
    found = split_file(tmp_path / "all", tmp_path / "out")
    files = {name: sorted(folder.rglob("*.png")) for name, folder in found.paths.items()}
    assert found.sizes == {name: len(inside) for name, inside in files.items()}
    moved = {file.relative_to(found.paths[name]): file for name, inside in files.items() for file in inside}
    assert set(moved) == {file.relative_to(tmp_path / "all") for file in (tmp_path / "all").rglob("*.png")}
    assert all(file.samefile(tmp_path / "all" / name) for name, file in moved.items())
    pixels = {name: {Image.open(file).getpixel((0, 0)) for file in inside} for name, inside in files.items()}
    assert not pixels["train"] & pixels["test"]
    given = {f"{name}_file": str(found.paths[name]) for name in ("validation", "test")}
    examples = load(found.paths["train"], **given)
    splits = split(examples, validation=0, test=0)
    for name, part in splits:
        assert part.tensors["label"].tolist() == [int("b" in file.parts) for file in files[name]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "wrong"}, DataError, "has no column 'wrong' for target"),
        ({"group_column": "odd"}, DataError, "group_column 'odd' is empty in 22 rows, first in row 7"),
        (
            {"time_column": "label"},
            DataError,
            "time_column 'label' is 'a' in row 1, which is neither a number nor a date",
        ),
        ({"id_column": "label"}, DataError, "ids must all be different"),
        ({"test": 1.0}, ConfigError, "test is 1.0"),
    ],
)
def test_what_cannot_be_split_is_refused_and_leaves_nothing(tmp_path, options, error, message):
    path = write(tmp_path / "all.csv", table())
    with pytest.raises(error, match=message):
        split_file(path, tmp_path / "out", **options)
    assert [entry.name for entry in tmp_path.iterdir()] == ["all.csv"]
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        split_file(path, tmp_path / "out")


def test_the_command_prints_files_and_how_to_use_them(tmp_path, capsys):
    path = write(tmp_path / "all.csv", table())
    assert main(["split", str(path), "--out", str(tmp_path / "out"), "--test", "0.5", "--validation", "0"]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'out' / 'test.csv'} (100 rows)" in printed.replace("\n", "")
    assert "--data" in printed and "--validation" not in printed
