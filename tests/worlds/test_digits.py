import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from didact import worlds
from didact.errors import ConfigError, MissingExtraError
from didact.worlds.digits.plain import digits


def test_digits_are_those_of_scikit_learn():
    examples, real = worlds.load("digits"), load_digits()
    assert examples.tensors["x"].dtype == torch.float32
    assert examples.shape == (1, 8, 8)
    assert np.array_equal(examples.tensors["x"].numpy()[:, 0] * 16, real["images"])
    assert np.array_equal(examples.tensors["label"].numpy(), real["target"])
    assert examples.tensors["x"].max() == 1
    assert examples.classes == tuple("0123456789")
    assert examples.batch().check().size == 1797
    assert examples.tensors["id"].unique().numel() == 1797


def test_digits_are_loaded_once():
    assert worlds.load("digits") is worlds.load("digits")


def test_an_unknown_world_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"no world 'digit'\. Did you mean digits or "):
        worlds.load("digit")
    assert "digits" in worlds.names()


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'didact\[data\]'"):
        digits.__wrapped__()
