"""How far it is from a command to the first loss: a reader should be able to follow the whole way.

Counted are the functions of didact that are called on the way, each once. Constructors and operators (`__init__`,
`__getitem__`) are counted with their class, comprehensions and lambdas with the function that they stand in. The way is
described in CONTRIBUTING.md.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

import didact
from blobs import DATA
from didact.cli import main
from didact.methods.distillation.distill import Distill

ROOT = str(Path(didact.__file__).parent)
FUNCTIONS, FILES = 300, 80
"""At most so many, in so many files."""
COMMAND = ["distill", "--teacher", "forest.skops", "--student", "mlp:16", "--data", "table.csv", "--no-progress"]
OPTIMIZED = 1
"""The flag of a code object that is a function's: bodies of modules and classes are none."""


class ReachedError(Exception):
    """What ends the way at the first loss."""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A table, and a forest that was fitted on it."""
    pandas, skops = pytest.importorskip("pandas"), pytest.importorskip("skops.io")
    from sklearn.ensemble import RandomForestClassifier

    monkeypatch.chdir(tmp_path)
    table = pandas.DataFrame(DATA.tensors["x"].numpy(), columns=list("abcd"))
    labels = np.array(DATA.classes)[DATA.tensors["label"].numpy()]
    skops.dump(RandomForestClassifier(5, random_state=0).fit(table, labels), "forest.skops")
    table.assign(label=labels).to_csv("table.csv", index=False)


def imported(frame):
    """Whether a frame is on the way of an import of didact, which another test may have made before."""
    while frame := frame.f_back:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(ROOT):
            return True
    return False


def walked(words):
    """The functions that are called before the first loss, by file and name, in the order of the first call."""
    seen: dict[tuple[str, str], None] = {}

    def note(frame, event, _arg):
        code = frame.f_code
        if event != "call" or not code.co_flags & OPTIMIZED or not code.co_filename.startswith(ROOT):
            return
        place = (code.co_filename.removeprefix(f"{ROOT}/"), code.co_qualname)
        if place not in seen and not imported(frame):
            seen[place] = None

    def reached(_method, _batch):
        sys.setprofile(None)
        raise ReachedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Distill, "loss", reached)
        sys.setprofile(note)
        try:
            with pytest.raises(ReachedError):
                main(words)
        finally:
            sys.setprofile(None)
    own = [(file, name) for file, name in seen if not name.rpartition(".")[2].startswith(("__", "<"))]
    assert own[0] == ("cli/__init__.py", "main")
    return own


def test_the_way_from_a_command_to_the_first_loss_can_be_followed(work):
    walked(COMMAND)  # what is looked up once in a process, such as the catalogue, other tests may have looked up before
    found = walked(COMMAND)
    assert len(found) <= FUNCTIONS, "\n".join(f"{file} {name}" for file, name in found)
    assert len({file for file, _ in found}) <= FILES


def test_the_walk_in_the_guide_passes_what_the_command_does(work):
    """Every function that CONTRIBUTING.md names on the way is on it, in that order."""
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    part = text.split("## From a command to the first step")[1].split("\n## ")[0]
    named = [line.split("`")[1] for line in part.splitlines() if line.startswith("| `")]
    assert len(named) > 15
    found = walked(COMMAND)
    places = [f"{file}:{name}" for file, name in found]
    order = [places.index(name) for name in named]
    assert order == sorted(order)
