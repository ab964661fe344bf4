"""What is shown of a row, and what is refused before anything is."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from didact.errors import ConfigError, DataError
from didact.labelling.rows import Row, image_bytes, open_pool, to_json

PIXELS = (np.arange(12).reshape(3, 4) * 20).astype(np.uint8)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path)
    return path


def test_a_folder_shows_its_images_and_texts_by_their_paths(tmp_path):
    picture(tmp_path / "b" / "2.png")
    picture(tmp_path / "1.tif")
    (tmp_path / "c.txt").write_text("a <b> text")
    (tmp_path / "notes.md").write_text("left alone")
    pool = open_pool(tmp_path)
    assert [row.id for row in pool.rows] == ["1.tif", "b/2.png", "c.txt"]
    assert to_json(pool.rows[2])["text"] == "a <b> text"
    assert image_bytes(pool.rows[1]) == ((tmp_path / "b" / "2.png").read_bytes(), "image/png")
    content, kind = image_bytes(pool.rows[0])
    assert kind == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content)))[..., 0], PIXELS)


def test_a_table_shows_what_is_neither_id_nor_label_and_leaves_labelled_rows_out(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("id,age,city,label\n7,31,Bern,\n8,40,,yes\n009,,Cork,\n")
    pool = open_pool(path)
    assert [(row.id, row.cells) for row in pool.rows] == [
        ("7", (("age", "31"), ("city", "Bern"))),
        ("009", (("age", ""), ("city", "Cork"))),
    ]
    assert pool.labelled == 1 and pool.classes == ("yes",)


def test_one_column_is_a_text_and_rows_without_ids_have_their_numbers(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text('text\n"one, two"\nthree\n')
    assert open_pool(path).rows == (Row("0", text="one, two"), Row("1", text="three"))
    lines = tmp_path / "texts.jsonl"
    lines.write_text('{"key": "k", "words": "hello", "other": 1}\n')
    assert open_pool(lines, id_column="key", text_column="words").rows == (Row("k", text="hello"),)


def test_a_column_of_images_shows_them_with_the_other_columns(tmp_path):
    picture(tmp_path / "photos" / "1.png")
    path = tmp_path / "rows.csv"
    path.write_text("file,age\nphotos/1.png,3\n")
    row = open_pool(path).rows[0]
    assert row.image == (tmp_path / "photos" / "1.png").resolve() and row.cells == (("age", "3"),)
    path.write_text("file,age\n1.png,3\n")
    assert open_pool(path, images_in=tmp_path / "photos").rows[0].image == row.image


@pytest.mark.parametrize("cell", ["../secret.png", "/etc/secret.png", "link.png", "gone.png"])
def test_no_file_outside_the_folder_is_shown(tmp_path, cell):
    secret = picture(tmp_path / "secret.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link.png").symlink_to(secret)
    path = tmp_path / "data" / "rows.csv"
    path.write_text(f"file\n{cell}\n")
    with pytest.raises(DataError, match="is no file in" if cell == "gone.png" else "outside"):
        open_pool(path)


def test_arrays_are_images_or_series(tmp_path):
    np.savez(tmp_path / "images.npz", x=np.stack([PIXELS, PIXELS]), id=["p", "q"])
    row = open_pool(tmp_path / "images.npz").rows[1]
    assert row.id == "q" and np.array_equal(np.asarray(row.image), PIXELS)
    values = np.arange(24.0).reshape(2, 12)
    values[1, 3], values[1, 10:] = np.nan, np.nan
    np.savez(tmp_path / "series.npz", x=values[:, None], y=[0.5, np.nan])
    pool = open_pool(tmp_path / "series.npz")
    assert [row.id for row in pool.rows] == ["1"] and pool.labelled == 1
    drawn = to_json(pool.rows[0])["series"][0]
    assert drawn[:4] == [(0, 12.0), (1, 13.0), (2, 14.0), (3, None)] and len(drawn) == 10
    path = tmp_path / "series.csv"
    path.write_text("id,a,b,c\nz,1,,3\n")
    assert to_json(open_pool(path, modality="series").rows[0])["series"] == [[(0, 1.0), (1, None), (2, 3.0)]]


def test_a_long_series_keeps_its_peaks():
    values = np.zeros((1, 100_000))
    values[0, 70_001], values[0, 70_002] = 5.0, -4.0
    drawn = to_json(Row("r", series=values))["series"][0]
    assert len(drawn) <= 1500 and (70_001, 5.0) in drawn and (70_002, -4.0) in drawn


@pytest.mark.parametrize(
    ("modality", "column", "cell", "shown"),
    [
        ("table", "age", "31", {"cells": (("age", "31"),)}),
        ("text", "text", "hello", {"text": "hello"}),
        (
            "series",
            "series",
            "1 2 nan ; 4 5 6",
            {"series": [[(0, 1.0), (1, 2.0), (2, None)], [(0, 4.0), (1, 5.0), (2, 6.0)]]},
        ),
        ("image", "file", "b/1.png", {"image": True}),
    ],
)
def test_the_open_queries_of_a_run_are_shown(tmp_path, modality, column, cell, shown):
    picture(tmp_path / "data" / "b" / "1.png")
    asked = tmp_path / "run" / "asked"
    asked.mkdir(parents=True)
    facts = {"data": str(tmp_path / "data"), "modality": modality, "task": "classification", "classes": ["x", "y"]}
    (asked / "query.json").write_text(json.dumps(facts))
    (asked / "queries.csv").write_text(f'id,{column},label,score\nr7,"{cell}",,0.5\n')
    pool = open_pool(tmp_path / "run")
    assert pool.classes == ("x", "y") and pool.rows[0].id == "r7"
    assert shown.items() <= to_json(pool.rows[0]).items()
    (asked / "queries.csv").write_text(f"id,{column},label,score\n")
    with pytest.raises(DataError, match="No query"):
        open_pool(tmp_path / "run")
    (asked / "query.json").write_text(json.dumps({**facts, "classes": []}))
    with pytest.raises(DataError, match="asks for numbers"):
        open_pool(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("id,a\n1,x\n1,y\n", {}, "'1' in rows 1, 2; ids must all be different"),
        ("id,a\n,x\n1,y\n", {}, "is empty in row 1"),
        ("id,label\n1,x\n", {}, "no column to show"),
        ("a,label\n1,x\n", {}, "All 1 rows"),
        ("a,b\n1,x\n", {"target": "c"}, "target is 'c'"),
        ("a,b\n1,x\n", {"modality": "serie"}, "Did you mean series"),
        ("a,b\n1,x\n", {"modality": "series"}, "'x' in 'b', where a series needs a number"),
        ("a,b\n1,x\n", {"modality": "image"}, "names no image"),
    ],
)
def test_what_cannot_be_labelled_is_refused(tmp_path, content, options, words):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises((DataError, ConfigError), match=words):
        open_pool(path, **options)


def test_what_is_not_there_or_unknown_is_named(tmp_path):
    with pytest.raises(DataError, match="holds neither images"):
        open_pool(tmp_path)
    (tmp_path / "rows.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"Did you mean rows\.csv"):
        open_pool(tmp_path / "row.csv")
    (tmp_path / "rows.doc").write_text("a")
    with pytest.raises(DataError, match="unknown kind"):
        open_pool(tmp_path / "rows.doc")


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "1.tif").write_text("no image")
    with pytest.raises(DataError, match=r"1\.tif cannot be shown"):
        image_bytes(open_pool(tmp_path).rows[0])
