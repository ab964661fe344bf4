"""A working directory and a store of one's own."""

import pytest

from didact.claims.store import ResultStore


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def store(work):
    return ResultStore(work / "kept")
