"""A further file of training examples without labels, of each kind of data."""

import numpy as np
import pandas
import pytest
import torch

import didact
from didact import sources
from didact.errors import DataError, DidactError
from didact.types import IGNORE, is_labelled


def table(size, seed, shift=0.0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(size, 3)).round(4)
    return pandas.DataFrame({"a": x[:, 0] + shift, "b": x[:, 1], "c": x[:, 2], "label": (x[:, 0] > 0).astype(int)})


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A source, a target without labels, and a labelled test of the target."""
    monkeypatch.chdir(tmp_path)
    table(200, 0).to_csv("source.csv", index=False)
    table(120, 1, 2.0).drop(columns="label").to_csv("target.csv", index=False)
    table(80, 2, 2.0).to_csv("test.csv", index=False)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("kind", ["number", "word", "regression"])
def test_its_rows_train_without_a_label_whatever_it_says(files, labelled, kind):
    task = "regression" if kind == "regression" else None
    for name, seed, shift in (("source", 0, 0.0), ("target", 1, 2.0), ("test", 2, 2.0)):
        frame = table(100, seed, shift)
        if kind != "number":
            frame["label"] = frame["a"] * 1.5 if kind == "regression" else frame["label"].map({0: "no", 1: "yes"})
        frame = frame.drop(columns="label") if name == "target" and not labelled else frame
        frame.to_csv(f"{name}.csv", index=False)
    found = sources.load("source.csv", unlabelled_file="target.csv", test_file="test.csv", task=task)
    assert found.classes == {"number": ("0", "1"), "word": ("no", "yes"), "regression": ()}[kind]
    splits = sources.split(found, test=0)
    domain, known = splits.train.tensors["domain"], is_labelled(splits.train.tensors["label"])
    assert torch.equal(domain == 0, known)
    assert int(domain.sum()) == 100
    assert splits.test.size == 100
    assert 4 < splits.validation.size < 20
    assert bool(is_labelled(splits.test.tensors["label"]).all())
    assert not splits.validation.tensors["domain"].any()


def test_a_run_adapts_to_a_file(files):
    result = didact.run(
        "domain_adversarial",
        data="source.csv",
        unlabelled="target.csv",
        test="test.csv",
        student="mlp:8",
        steps=5,
        progress=False,
    )
    assert result.cost.labels <= 180
    assert set(result.student.predict("target.csv").labels) <= {"0", "1"}


def test_arrays_and_folders_of_images_have_them_too(tmp_path):
    from PIL import Image

    generator = np.random.default_rng(0)
    x = generator.normal(size=(30, 4)).astype(np.float32)
    np.savez(tmp_path / "source.npz", x=x, y=np.arange(30) % 3)
    np.savez(tmp_path / "target.npz", x=x + 1)
    for name in ("source/cat", "source/dog", "target"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    for place, sizes in (("npz", (30, 30)), ("folder", (8, 4))):
        suffix = ".npz" if place == "npz" else ""
        found = sources.load(tmp_path / f"source{suffix}", unlabelled_file=str(tmp_path / f"target{suffix}"))
        domain = found.tensors["domain"]
        assert torch.equal(domain, torch.arange(2).repeat_interleave(torch.tensor(sizes)))
        assert torch.equal(found.tensors["label"] == IGNORE, domain == 1)
        assert found.tensors["split"][domain == 1].unique().tolist() == [0]


def test_what_is_no_such_file_is_refused(files, tmp_path):
    table(20, 3).rename(columns={"a": "z"}).to_csv("other.csv", index=False)
    with pytest.raises(DataError, match=r"source.csv and other.csv have different columns: 'a', 'z'"):
        sources.load("source.csv", unlabelled_file="other.csv")
    with pytest.raises(DataError, match=r"unlabelled is 'none.csv', which is no table; give a file as source.csv"):
        sources.load("source.csv", unlabelled_file="none.csv")
    with pytest.raises(DidactError, match=r"target.csv cannot go with data that come from no file"):
        didact.run("supervised", data="digits", unlabelled="target.csv", steps=1, progress=False)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
    (tmp_path / "images" / "cat" / "1.png").write_bytes(b"")
    (tmp_path / "images" / "dog" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"unlabelled is 'target.csv', but .* is a folder of images; give a folder"):
        sources.load(tmp_path / "images", unlabelled_file="target.csv")
