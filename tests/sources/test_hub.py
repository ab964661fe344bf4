import io

import numpy as np
import pytest
import torch

from didact import sources
from didact.errors import DataError
from didact.types import IGNORE

datasets = pytest.importorskip("datasets")
from PIL import Image  # noqa: E402

ROWS = {"x": [1.0, 2.0, 3.5, 0.0], "colour": ["red", "blue", "red", "red"], "label": [1, 0, -1, 1]}


def table(names=("zebra", "ape")):
    features = datasets.Features(
        {"x": datasets.Value("float32"), "colour": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    return datasets.Dataset.from_dict(ROWS, features=features)


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_a_saved_table_keeps_the_declared_order_of_its_classes(tmp_path):
    table().save_to_disk(tmp_path / "d")
    examples = sources.load(f"hf:{tmp_path / 'd'}")
    assert examples.classes == ("zebra", "ape")
    assert examples.tensors["label"].tolist() == [1, 0, IGNORE, 1]
    examples = sources.fit_preprocessing(examples)(examples)
    assert [column.name for column in examples.preprocessing.columns] == ["x", "colour"]
    assert examples.tensors["x"].tolist() == [[1, 0, 1], [2, 1, 0], [3.5, 0, 1], [0, 0, 1]]


def test_rows_that_were_selected_are_the_ones_that_are_read(tmp_path):
    table().select([3, 1]).save_to_disk(tmp_path / "d")
    assert sources.load(f"hf:{tmp_path / 'd'}").tensors["label"].tolist() == [1, 0]


def test_a_split_must_be_chosen_where_there_are_several(tmp_path):
    parts = {"train": table(), "test": table().select([0, 1])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match="has the splits train, test; choose one with split"):
        sources.load(f"hf:{tmp_path / 'd'}")
    with pytest.raises(DataError, match=r"no split 'tests'. Did you mean test\?"):
        sources.load(f"hf:{tmp_path / 'd'}", split="tests")
    assert sources.load(f"hf:{tmp_path / 'd'}", split="test").size == 2


def test_text_is_found(tmp_path):
    rows = {"text": ["a fine day", "a rainy old day", "one more day"], "label": [1, 0, 1]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "d")
    examples = sources.load(f"hf:{tmp_path / 'd'}")
    assert examples.texts == tuple(rows["text"])
    assert examples.classes == ("0", "1")


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


def test_images_are_found_and_unreadable_ones_named(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 5), dtype=np.uint8)
    cells = [{"bytes": png(array), "path": None} for array in pixels]
    features = datasets.Features({"picture": datasets.Image(), "label": datasets.Value("string")})
    rows = {"picture": cells, "label": ["b", "a", "b", "a"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "d")
    examples = sources.load(f"hf:{tmp_path / 'd'}")
    np.testing.assert_allclose(examples.tensors["x"].numpy()[:, 0], pixels / 255, atol=1e-7)
    assert examples.tensors["label"].tolist() == [1, 0, 1, 0]
    cells[2] = {"bytes": b"broken", "path": None}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "e")
    with pytest.raises(DataError, match="1 of 4 images cannot be read: row 3"):
        sources.load(f"hf:{tmp_path / 'e'}")
    with pytest.warns(UserWarning, match="row 3"):
        skipped = sources.load(f"hf:{tmp_path / 'e'}", skip_bad=True)
    assert torch.equal(skipped.tensors["id"], examples.tensors["id"][[0, 1, 3]])
    assert skipped.tensors["label"].tolist() == [1, 0, 0]


def test_a_folder_of_files_is_read_by_the_library(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.jsonl").write_text('{"x": 1.5, "label": "a"}\n{"x": 2.5, "label": "b"}\n')
    examples = sources.load(f"hf:{tmp_path / 'd'}")
    assert sources.fit_preprocessing(examples)(examples).tensors["x"].tolist() == [[1.5], [2.5]]


def test_a_data_set_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"hf:.*nowhere .split not given. cannot be loaded"):
        sources.load(f"hf:{tmp_path / 'nowhere'}")
