"""Folders of images and masks, as people have them."""

import numpy as np
import pytest
import torch
from PIL import Image

from didact import sources
from didact.errors import ConfigError, DataError
from didact.types import IGNORE

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
VALUES = rng.integers(0, 3, (4, 6, 5), dtype=np.uint8)
VALUES[0, 0] = 255


def folder(root, values=VALUES, mode=None):
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(
            root / "images" / f"{number}.jpg" if number == 3 else root / "images" / f"{number}.png"
        )
    for number, mask in enumerate(values):
        opened = Image.fromarray(mask)
        (opened if mode is None else opened.convert(mode)).save(root / "masks" / f"{number}.png")
    return root


def test_masks_are_the_numbers_of_classes_and_255_is_none(tmp_path):
    examples = sources.load(folder(tmp_path / "scenes", VALUES[:3]))
    wanted = np.where(VALUES == 255, IGNORE, VALUES.astype(np.int64))
    np.testing.assert_array_equal(examples.tensors["mask"][:3].numpy(), wanted[:3])
    assert (examples.tensors["mask"][3] == IGNORE).all()
    assert examples.tensors["label"].tolist() == [0, 0, 0, IGNORE]
    assert (examples.task, examples.modality, examples.classes) == ("segmentation", "image", ("0", "1", "2"))
    np.testing.assert_allclose(examples.tensors["x"][0].numpy(), IMAGES[0].transpose(2, 0, 1) / 255, atol=1e-7)


@pytest.mark.parametrize("mode", [None, "1", "P"])
def test_masks_of_two_values_have_two_classes(tmp_path, mode):
    two = (VALUES > 1).astype(np.uint8) * 255
    examples = sources.load(folder(tmp_path, two if mode != "P" else two // 255, mode if mode == "1" else None))
    np.testing.assert_array_equal(examples.tensors["mask"].numpy(), two // 255)
    assert examples.classes == ("0", "1")


def test_classes_are_named_in_a_file_or_by_the_user(tmp_path):
    folder(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nsea\nland\n")
    assert sources.load(tmp_path).classes == ("sky", "sea", "land")
    assert sources.load(tmp_path, classes=lambda: ("a", "b", "c", "d")).classes == ("a", "b", "c", "d")
    with pytest.raises(DataError, match="has the class 2, but there are 2 names"):
        sources.load(tmp_path, classes=lambda: ("a", "b"))


def test_resized_masks_have_no_new_values(tmp_path):
    examples = sources.load(folder(tmp_path), image_size=(3, 4))
    assert examples.shape == (3, 3, 4)
    assert set(examples.tensors["mask"].unique().tolist()) <= {IGNORE, 0, 1, 2}


def test_what_cannot_be_read_is_named(tmp_path):
    folder(tmp_path / "colours", np.repeat(VALUES[..., None], 3, -1))
    with pytest.raises(DataError, match=r"0\.png has colours \(RGB\)"):
        sources.load(tmp_path / "colours")
    folder(tmp_path / "size", VALUES[:, :3])
    with pytest.raises(DataError, match=r"0\.png is 3 by 5 pixels .* but its image is 6 by 5"):
        sources.load(tmp_path / "size")
    root = folder(tmp_path / "lone")
    (root / "images" / "2.png").unlink()
    with pytest.raises(DataError, match=r"The mask 2\.png has no image"):
        sources.load(root)
    folder(tmp_path / "one", VALUES * 0)
    with pytest.raises(DataError, match="a single class"):
        sources.load(tmp_path / "one")
    with pytest.raises(DataError, match="no file of labels"):
        sources.load(folder(tmp_path / "labels"), labels_file="labels.csv")
    with pytest.raises(ConfigError, match="target"):
        sources.load(tmp_path / "labels", target="x")
    with pytest.raises(DataError, match=r"validation is '.*part', where 1 of 4 images have no mask, first 3\.jpg; put"):
        sources.load(folder(tmp_path / "whole"), validation_file=str(folder(tmp_path / "part", VALUES[:3])))
    with pytest.raises(DataError, match=r"test is '.*images', but the data have masks; give a fraction, or a folder"):
        sources.load(tmp_path / "whole", test_file=str(tmp_path / "whole" / "images"))
    with pytest.raises(DataError, match=r"unlabelled is '.*nowhere', but .* has masks; give a folder of images"):
        sources.load(tmp_path / "whole", unlabelled_file=str(tmp_path / "nowhere"))


def test_folders_for_validation_and_test_and_without_masks(tmp_path):
    for name in ("train", "val", "test", "more"):
        folder(tmp_path / name)
    (tmp_path / "more" / "masks" / "0.png").unlink()
    files = {f"{field}_file": str(tmp_path / name) for field, name in (("validation", "val"), ("test", "test"))}
    found = sources.load(tmp_path, split="train", unlabelled_file=str(tmp_path / "more"), **files)
    assert found.tensors["split"].tolist() == [-1] * 4 + [1] * 4 + [2] * 4 + [0] * 4
    assert found.tensors["domain"].tolist() == [0] * 12 + [1] * 4
    assert found.tensors["label"].tolist() == [0] * 12 + [IGNORE] * 4
    assert torch.equal(found.tensors["mask"][8:12], found.tensors["mask"][:4])
    assert (found.tensors["mask"][12:] == IGNORE).all()
