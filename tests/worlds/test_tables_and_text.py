"""Real tables and text, against their origins read in another way."""

import inspect
import xml.dom.minidom
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch

from didact import sources, worlds
from didact.errors import DataError
from didact.worlds.stdlib import PACKAGES


@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_classification_tables_are_those_of_scikit_learn(name):
    examples, real = worlds.load(name), getattr(sklearn.datasets, f"load_{name}")()
    assert np.array_equal(examples.tensors["x"].numpy(), real.data.astype(np.float32))
    assert np.array_equal(examples.tensors["label"].numpy(), real.target)
    assert examples.classes == tuple(real.target_names)
    assert [column.name for column in examples.preprocessing.columns] == list(real.feature_names)


def test_diabetes_is_a_regression_in_its_own_units():
    examples = worlds.load("diabetes")
    x, label = examples.tensors["x"], examples.tensors["label"]
    assert examples.task == "regression"
    assert examples.classes == ()
    names = [column.name for column in examples.preprocessing.columns]
    assert names[:4] == ["age", "sex", "bmi", "bp"]
    assert set(x[:, 1].tolist()) == {1.0, 2.0}
    assert 19 <= x[:, 0].min() <= x[:, 0].max() <= 79
    assert (label.min(), label.max()) == (25, 346)
    assert label.dtype == torch.float32


def test_breast_cancer_counts_as_documented():
    assert worlds.load("breast_cancer").tensors["label"].bincount().tolist() == [212, 357]


def test_lines_come_from_their_package():
    examples = worlds.load("stdlib:text")
    own = inspect.getsource(xml.dom.minidom)
    stripped = {line.strip() for line in own.splitlines()}
    here = [text for text in examples.texts if text in stripped]
    labels = [examples.classes[i] for i in examples.tensors["label"].tolist()]
    assert len(here) > 20
    assert {labels[examples.texts.index(text)] for text in here} == {"xml"}


def test_lines_are_of_a_fitting_length_and_each_comes_once():
    examples = worlds.load("stdlib:text")
    assert len(set(examples.texts)) == examples.size
    assert all(24 <= len(text) <= 62 and text == text.strip() for text in examples.texts)
    assert examples.tensors["label"].bincount().tolist() == [800] * len(PACKAGES)


def test_tokens_are_those_of_the_byte_tokenizer():
    examples = worlds.load("stdlib:text")
    tokenizer = sources.ByteTokenizer(64)
    for key, tokens in tokenizer(examples.texts).items():
        assert torch.equal(examples.tensors[key], tokens)
    assert examples.vocabulary == tokenizer.vocabulary
    assert examples.tensors["input_ids"].shape[1] == 64


def test_the_order_of_files_changes_nothing(monkeypatch):
    forward = worlds.load("stdlib:text")
    found = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: sorted(found(self, pattern), reverse=True))
    assert worlds.describe("stdlib:text").make.__wrapped__().texts == forward.texts


def test_a_python_without_sources_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(
        DataError, match=r"'stdlib:text' reads Python's own source files, but there are none in .*asyncio"
    ):
        worlds.describe("stdlib:text").make.__wrapped__()
