"""Two processes that learn together give what one gives, by every method that does not say why it learns alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from didact import catalogue
from didact.errors import ConfigError
from didact.loop.fitting import check_place
from didact.types import ExampleFeed, Method, Place
from together import run_together

DRIVER = str(Path(__file__).with_name("together_driver.py"))
NAMES = tuple(name for name in catalogue.names() if not catalogue.find(name).feed.get("alone"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, monkeypatch_module):
    """Weights of every method: of one process with two seeds of the loop, and of two processes."""
    folder = tmp_path_factory.mktemp("together")
    for seed in ("0", "1"):
        subprocess.run([sys.executable, DRIVER, str(folder), seed, *NAMES], check=True)
    run_together([DRIVER, str(folder), "0", *NAMES], 2, timeout=1000)
    return folder


@pytest.fixture(scope="module")
def monkeypatch_module():
    """What the processes of this module need."""
    with pytest.MonkeyPatch.context() as patch:
        here = Path(__file__).parent
        paths = [str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("DIDACT_CACHE", "")
        yield patch


def read(folder, name, which):
    return torch.load(folder / f"{name}-{which}.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_what_one_gives(folder, name):
    alone, other, first, second = (read(folder, name, which) for which in ("alone-0", "alone-1", "0-0", "1-0"))
    for key, value in first.items():
        assert torch.equal(value, second[key]), "the processes have come apart"
    if all(torch.equal(alone[key], other[key]) for key in alone):
        for key, value in alone.items():
            torch.testing.assert_close(first[key], value, rtol=2e-4, atol=2e-5)
    else:
        # Its loss draws numbers, which fall on other rows where these are shared.
        torch.testing.assert_close(first["loss"], alone["loss"], rtol=0.5, atol=0.5)


def test_a_method_that_learns_alone_is_refused():
    class Choosy(Method):
        feed = ExampleFeed(coupled=True, alone="it chooses among the whole batch")

    with pytest.raises(ConfigError, match="Choosy cannot learn in 2 processes, as it chooses among the whole batch"):
        check_place(Choosy(), Place(size=2), None)
    with pytest.raises(ConfigError, match="micro_batch is 4"):
        check_place(Method(), Place(size=2), 4)
