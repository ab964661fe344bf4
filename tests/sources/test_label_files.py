"""Labels in a file of their own."""

import numpy as np
import pytest
from PIL import Image

import didact
from didact import sources
from didact.errors import ConfigError, DataError
from didact.types import IGNORE

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)


@pytest.fixture
def images(tmp_path):
    """Images in two folders that mean nothing: bright ones have an even number."""
    for number, pixels in enumerate(PIXELS):
        inside = tmp_path / "images" / ("a" if number % 3 else "b")
        inside.mkdir(exist_ok=True, parents=True)
        Image.fromarray(pixels // (1 if number % 2 == 0 else 4)).save(inside / f"{number}.png")
    return tmp_path / "images"


def labels(tmp_path, text):
    path = tmp_path / "few.csv"
    path.write_text(text)
    return str(path)


def test_images_are_labelled_by_file_and_the_others_are_not(images, tmp_path):
    few = labels(tmp_path, "file,label\nb/0.png,bright\n1.png,dark\na/2.png,bright\n")
    examples = sources.load(images, labels_file=few)
    assert examples.classes == ("bright", "dark")
    files = sorted(images.rglob("*.png"))
    said = {"0.png": 0, "1.png": 1, "2.png": 0}
    assert examples.tensors["label"].tolist() == [said.get(file.name, IGNORE) for file in files]
    assert examples.size == 24


def test_rows_are_labelled_by_id(tmp_path):
    (tmp_path / "rows.csv").write_text("key,x\n" + "".join(f"{row},{row * 0.5}\n" for row in range(8)))
    few = labels(tmp_path, "id,label\n7,no\n0,yes\n3,no\n")
    examples = sources.load(tmp_path / "rows.csv", id_column="key", labels_file=few)
    assert examples.tensors["label"].tolist() == [1, IGNORE, IGNORE, 0, IGNORE, IGNORE, IGNORE, 0]
    assert examples.classes == ("no", "yes")
    with pytest.raises(DataError, match=r"labels is 'few.csv'.*give the column of rows.csv that holds the ids"):
        sources.load(tmp_path / "rows.csv", labels_file=few)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "file,label\n1.png,a\nb/1.png,b\n99.png,b\n",
            r"labels for 2 of 3 names that do not occur.*'b/1.png', '99.png'",
        ),
        ("file,label\n1.png,a\n1.png,b\n", r"has '1.png' in 2 rows"),
        ("which,label\n1.png,a\n2.png,b\n", r"has the columns which, label; .*one called id or file"),
        ("file,class\n1.png,a\n2.png,b\n", r"has the columns file, class; .*one called label or target"),
    ],
)
def test_what_a_file_of_labels_refuses(images, tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        sources.load(images, labels_file=labels(tmp_path, text))


def test_a_folder_and_a_file_of_labels_teach_a_student(images, tmp_path):
    rows = [f"{number}.png,{'dark' if number % 2 else 'bright'}" for number in range(16)]
    few = labels(tmp_path, "\n".join(["file,label", *rows]) + "\n")
    given = {"method": "mean_teacher", "data": str(images), "student": "mlp:8", "steps": 4, "batch_size": 8}
    result = didact.run(**given, labels=few, test=0.4, validation=0.0, progress=False)
    assert 0 < result.cost.labels < 16
    assert "accuracy" in result.metrics
    with pytest.raises(ConfigError, match="the data come from no file"):
        didact.run(**{**given, "data": "digits"}, labels=few, progress=False)
