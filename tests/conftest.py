"""What many tests need: a small planted problem, and methods ready to run on it."""

import dataclasses
import gc
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import nn

from didact.loop import FitResult, LoopConfig, fit
from didact.types import IGNORE, Batch, Examples, Method, Source

# Collecting the tests makes millions of objects, and all of them stay: looking for garbage takes a quarter of the time.
gc.disable()

# A shell that starts the tests in the background may have signals ignored, which tests of signals send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# No test cuts the power, and waiting for the disk would take a fifth of each small run.
os.fsync = lambda _descriptor: None

# The examples of `make test` are the same each time, so that it never fails by chance; `make fuzz` looks for new ones.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("fuzz", print_blob=True, database=None, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_collection_finish() -> None:
    """From now on there is garbage."""
    gc.enable()
    gc.freeze()


def planted(size: int = 96, classes: int = 3, *, seed: int = 0, labelled: float = 1.0) -> Examples:
    """Points around `classes` centres in four dimensions; a share of them labelled."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(size) % classes
    x = torch.eye(4)[label % 4] * 2.0 + torch.randn(size, 4, generator=generator) * 0.7
    kept = torch.rand(size, generator=generator) < labelled
    return Examples(
        tensors={"x": x, "label": torch.where(kept, label, IGNORE), "id": torch.arange(size) + 1000},
        task="classification",
        modality="table",
        classes=tuple("abcdefgh"[:classes]),
        name="planted",
    )


def net(width: int = 8, *, classes: int = 3, seed: int = 0, dropout: float = 0.0) -> nn.Module:
    """A small net for `planted`, initialised from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, classes))


def few(cases: Iterable[Any], every: int) -> list[Any]:
    """The cases of a sweep for `parametrize`: one in `every` guards their kind; the others are slow."""
    slow = [pytest.mark.slow]
    return [pytest.param(case, marks=slow if number % every else []) for number, case in enumerate(cases)]


METHODS = ("supervised", "distill", "fitnet", "mutual_learning", "mean_teacher")


def make_method(name: str, *, seed: int = 0, dropout: float = 0.0) -> Method:
    """One of the built-in methods with a small learner, and a teacher where it needs one."""
    from didact.learners import ModuleLearner
    from didact.methods.distillation import distill, fitnet, mutual_learning
    from didact.methods.semi_supervised import mean_teacher
    from didact.methods.supervised import supervised
    from didact.teachers import FrozenTeacher

    learner = ModuleLearner(net(seed=seed, dropout=dropout))
    teacher = FrozenTeacher(ModuleLearner(net(16, seed=99)))
    sample = planted(8).batch()
    makers: dict[str, Callable[[], Method]] = {
        "supervised": lambda: supervised.Supervised(supervised.Config(), learner),
        "distill": lambda: distill.Distill(distill.Config(), learner, teacher),
        "fitnet": lambda: fitnet.FitNet(fitnet.Config(), learner, teacher, sample),
        "mutual_learning": lambda: mutual_learning.MutualLearning(
            mutual_learning.Config(), learner, lambda _spec: ModuleLearner(net(seed=seed + 1, dropout=dropout))
        ),
        "mean_teacher": lambda: mean_teacher.MeanTeacher(mean_teacher.Config(), learner),
    }
    return makers[name]()


def quiet_fit(method: Method, source: Source, **settings: Any) -> FitResult:
    """`fit` without a progress bar; the fields of its `LoopConfig` may stand beside its own arguments."""
    own = {field.name: settings.pop(field.name) for field in dataclasses.fields(LoopConfig) if field.name in settings}
    return fit(method, source, loop=LoopConfig(progress=False, **own), **settings)


def weights(method: Method) -> dict[str, torch.Tensor]:
    """Everything that training changes, flattened by name, copied."""
    found = {}
    for part, state in method.state_dict().items():
        flat = state.get("learner", state) if isinstance(state, dict) else state
        found.update({f"{part}.{key}": value.clone() for key, value in flat.items() if isinstance(value, torch.Tensor)})
    return found


@pytest.fixture(autouse=True)
def no_pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken from, or left to, other runs of this machine."""
    monkeypatch.setenv("DIDACT_CACHE", "")


@pytest.fixture(autouse=True)
def brief_teachers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers are trained for as many epochs as a test says, and not for 500 steps at least, unless it is slow."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr("didact.materials.examples.pretraining.LEAST_STEPS", 1)


@pytest.fixture
def problem() -> Examples:
    """`planted` with its defaults."""
    return planted()


@pytest.fixture
def batch(problem: Examples) -> Batch:
    """All of `planted` as one batch."""
    return problem.batch()


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A directory that is not there yet."""
    return tmp_path / "run"
