import numpy as np
import pytest
import torch
from PIL import Image

from didact import sources
from didact.errors import ConfigError, DataError

rng = np.random.default_rng(0)
GRAY = rng.integers(0, 256, (6, 5, 7), dtype=np.uint8)


def folder(root, classes=("cat", "dog"), arrays=GRAY, suffix="png"):
    for i, array in enumerate(arrays):
        inside = root / classes[i % len(classes)]
        inside.mkdir(exist_ok=True, parents=True)
        Image.fromarray(array).save(inside / f"{i}.{suffix}")
    return root


def test_a_folder_by_class_becomes_pixels_in_the_unit_interval(tmp_path):
    examples = sources.load(folder(tmp_path / "pets"))
    expected = np.concatenate([GRAY[0::2], GRAY[1::2]])[:, None] / 255
    np.testing.assert_allclose(examples.tensors["x"].numpy(), expected, atol=1e-7)
    assert examples.tensors["x"].dtype == torch.float32
    assert examples.tensors["label"].tolist() == [0, 0, 0, 1, 1, 1]
    assert (examples.classes, examples.modality, examples.name) == (("cat", "dog"), "image", "pets")
    assert examples.tensors["id"].unique().numel() == 6


def test_one_colour_image_makes_all_of_them_three_channels(tmp_path):
    colour = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    x = sources.load(folder(tmp_path, arrays=[GRAY[0], colour])).tensors["x"].numpy()
    np.testing.assert_allclose(x[0], np.repeat(GRAY[:1] / 255, 3, 0), atol=1e-7)
    np.testing.assert_allclose(x[1], colour.transpose(2, 0, 1) / 255, atol=1e-7)


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    deep = [GRAY[i].astype(np.uint16) * 257 for i in range(2)]
    x = sources.load(folder(tmp_path, arrays=deep)).tensors["x"].numpy()
    np.testing.assert_allclose(x[:, 0], GRAY[:2] / 255, atol=1e-7)


def test_numbered_classes_are_sorted_by_value(tmp_path):
    examples = sources.load(folder(tmp_path, classes=("10", "9", "100")))
    assert examples.classes == ("9", "10", "100")
    assert examples.tensors["label"].tolist() == [0, 0, 1, 1, 2, 2]


def test_sizes_must_agree_or_be_given(tmp_path):
    folder(tmp_path, arrays=[GRAY[0], GRAY[1][:4], GRAY[2]])
    with pytest.raises(
        DataError, match=r"1.png is 4 by 7 pixels \(height by width\), but the first is 5 by 7; give im"
    ):
        sources.load(tmp_path)
    x = sources.load(tmp_path, image_size=(10, 14)).tensors["x"]
    assert x.shape == (3, 1, 10, 14)
    assert sources.load(tmp_path, image_size=6).shape == (1, 6, 6)
    assert abs(x[0].mean().item() - GRAY[0].mean() / 255) < 0.02


def test_ids_do_not_depend_on_the_size_asked_for_or_the_file_format(tmp_path):
    one = sources.load(folder(tmp_path / "one"))
    other = sources.load(folder(tmp_path / "other", suffix="bmp"), image_size=3)
    assert torch.equal(one.tensors["id"], other.tensors["id"])


def test_unreadable_images_are_named_and_counted_and_skipped_only_on_request(tmp_path):
    folder(tmp_path)
    (tmp_path / "cat" / "0.png").write_bytes(b"not an image")
    whole = (tmp_path / "dog" / "3.png").read_bytes()
    (tmp_path / "dog" / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of 6 images cannot be read: cat/0.png, dog/3.png; .* skip_bad"):
        sources.load(tmp_path)
    with pytest.warns(UserWarning, match="2 of 6 images cannot be read: cat/0.png, dog/3.png; they are left out"):
        examples = sources.load(tmp_path, skip_bad=True)
    assert examples.tensors["label"].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(examples.tensors["x"].numpy()[:, 0], GRAY[[2, 4, 1, 5]] / 255, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*left out")
def test_a_class_without_a_readable_image_is_refused(tmp_path):
    folder(tmp_path)
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="None of the images of the class 'dog' can be read"):
        sources.load(tmp_path, skip_bad=True)


def test_folders_that_are_not_images_by_class_are_refused(tmp_path):
    folder(tmp_path, classes=("cat",))
    with pytest.raises(DataError, match="at least two classes, but it has cat"):
        sources.load(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match="it has cat, dog, and none in dog"):
        sources.load(tmp_path)
    with pytest.raises(ConfigError, match=r"target is 'label', but .* is a folder of images"):
        sources.load(tmp_path, target="label")


def test_folders_of_splits_are_chosen_by_name(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "val", arrays=GRAY[:2])
    with pytest.raises(DataError, match="holds the splits train, val; choose one with split"):
        sources.load(tmp_path)
    assert sources.load(tmp_path, split="val").size == 2
    with pytest.raises(DataError, match=r"no folder for split 'vale'. Did you mean val\?"):
        sources.load(tmp_path, split="vale")


def test_folders_of_other_splits_must_be_folders_of_the_same_classes(tmp_path):
    path = folder(tmp_path / "pets")
    folder(tmp_path / "others", classes=("cat", "horse"))
    with pytest.raises(DataError, match=r"images of the class 'horse', but .*pets has none"):
        sources.load(path, test_file=str(tmp_path / "others"))
    with pytest.raises(DataError, match="'nowhere' is none; give a fraction, or a folder"):
        sources.load(path, test_file="nowhere")
