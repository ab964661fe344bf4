"""The examples in the docstrings of what `didact` gives at its top run, and say what is so."""

import doctest
import importlib

import pytest

import didact

NAMES = ["Budget", "Distiller", "Examples", "Student", "compare", "fit", "load", "run"]


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_a_docstring_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = getattr(didact, name)
    module = importlib.import_module(value.__module__)
    found = doctest.DocTestFinder(recurse=False).find(value, name, module, {**vars(module), "didact": didact})
    runner, said = doctest.DocTestRunner(), []
    for test in found:
        runner.run(test, out=said.append)
    assert runner.tries >= 1 and runner.failures == 0, "".join(said)
