import numpy as np
import pytest
import torch

from didact import sources
from didact.errors import DataError
from didact.preprocessing import plain_table
from didact.types import IGNORE

rng = np.random.default_rng(0)


def test_a_table_of_arrays(tmp_path):
    x, y = rng.normal(size=(6, 3)), np.array(["b", "a", "", "b", "a", "b"])
    np.savez(tmp_path / "t.npz", x=x, y=y, key=np.arange(6))
    examples = sources.load(tmp_path / "t.npz")
    np.testing.assert_array_equal(examples.tensors["x"].numpy(), x.astype(np.float32))
    assert examples.tensors["label"].tolist() == [1, 0, IGNORE, 1, 0, 1]
    assert examples.preprocessing == plain_table(["x0", "x1", "x2"])
    named = sources.load(tmp_path / "t.npz", target="y", id_column="key")
    assert named.tensors["id"].unique().numel() == 6
    assert not torch.equal(named.tensors["id"], examples.tensors["id"])


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (rng.integers(0, 256, (4, 5, 6), dtype=np.uint8), lambda x: x[:, None] / 255),
        (rng.random((4, 3, 5, 6)), lambda x: x),
        (rng.random((4, 5, 6, 3)), lambda x: np.moveaxis(x, 3, 1)),
        (rng.random((4, 5, 6, 1)), lambda x: np.moveaxis(x, 3, 1)),
    ],
)
def test_images_are_brought_to_channels_first_in_the_unit_interval(x, expected):
    examples = sources.from_tensors(x, np.array([0, 1, 0, 1]))
    assert examples.modality == "image"
    np.testing.assert_allclose(examples.tensors["x"].numpy(), expected(x), rtol=1e-6)


def test_tensors_are_taken_as_they_are():
    x, y = torch.randn(5, 2), torch.tensor([0.5, 1.5, torch.nan, 2.5, 0.5])
    examples = sources.from_tensors(x, y, name="mine")
    assert torch.equal(examples.tensors["x"], x)
    torch.testing.assert_close(examples.tensors["label"], y.double(), equal_nan=True)
    assert (examples.task, examples.name) == ("regression", "mine")


BAD = {
    "rows": (np.zeros((3, 2)), np.zeros(2), r"x has shape \[3, 2\] and the target \[2\]"),
    "channels": (np.zeros((2, 4, 4, 4)), np.arange(2), r"with 1 or 3 channels"),
    "vector": (np.zeros(2), np.arange(2), r"x has shape \[2\]"),
    "range": (np.full((2, 4, 4), 3.5), np.arange(2), "values lie between 3.5 and 3.5"),
    "words": (np.array([["a"], ["b"]]), np.arange(2), "must hold numbers"),
    "inf": (np.array([[1, 2], [-np.inf, 1]]), np.arange(2), r"'x0' is not finite .* in 1 cells \(row 2: '-inf'\)"),
    "constant": (np.zeros((2, 1)), np.ones(2, dtype=int), "target 'label' is '1' in every row"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_refused(case):
    x, y, message = BAD[case]
    with pytest.raises(DataError, match=message):
        sources.from_tensors(x, y)


def test_pickled_arrays_are_refused_unread(tmp_path):
    np.savez(tmp_path / "t.npz", x=np.array([[1], ["a"]], dtype=object), y=np.arange(2))
    with pytest.raises(DataError, match="pickled Python objects, which didact never loads"):
        sources.load(tmp_path / "t.npz")


def test_a_broken_file_and_missing_arrays_are_named(tmp_path):
    (tmp_path / "t.npz").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match=r"t.npz is not a readable .npz file"):
        sources.load(tmp_path / "t.npz")
    np.savez(tmp_path / "t.npz", x=np.zeros((2, 1)), labels=np.arange(2))
    with pytest.raises(DataError, match=r"no array label or target or y for target. Did you mean labels\?"):
        sources.load(tmp_path / "t.npz")


def test_a_damaged_array_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "t.npz", x=rng.normal(size=(50, 2)), y=np.arange(50) % 2)
    damaged = bytearray((tmp_path / "t.npz").read_bytes())
    damaged[300:340] = bytes(40)
    (tmp_path / "t.npz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"t.npz is not a readable .npz file"):
        sources.load(tmp_path / "t.npz")


def test_gaps_and_numbers_far_from_zero_are_left_to_preprocessing():
    x = np.array([[1.7e9, np.nan], [1.7e9 + 1, 4], [1.7e9 + 2, 6]])
    examples = sources.from_tensors(x, np.arange(3) % 2)
    assert "x" not in examples.tensors
    prepared = sources.fit_preprocessing(examples)(examples)
    assert prepared.tensors["x"].tolist() == [[-1, 5, 1], [0, 4, 0], [1, 6, 0]]


def test_object_labels_without_a_value_are_missing():
    for labels in (np.array(["a", None, "b", float("nan")], dtype=object), np.array(["a", "", "b", ""])):
        examples = sources.from_tensors(np.eye(4), labels)
        assert examples.classes == ("a", "b")
        assert examples.tensors["label"].tolist() == [0, IGNORE, 1, IGNORE]
