"""The smallest run of every method, by the material of its feed: what the contract's matrix starts from.

A method for examples runs what its own claim runs (its world, student, teacher and options), cut down to a few steps;
one that claims nothing learns digits with small convolutional nets. A method for questions learns from the same few
questions with decoders of one block, with the options of its claim. Nothing here knows any method by name.
"""

import copy
from collections.abc import Iterable
from functools import cache

import pytest
import torch

from conftest import quiet_fit
from didact import catalogue
from didact.experiment import finding, running
from didact.experiment.config import RunConfig
from didact.experiment.material import Data, Objects, Run
from didact.experiment.preparing import accepts, prepare
from didact.loop import FitResult
from small_questions import questions

NAMES = catalogue.names()
LEARNER, TEACHER = "decoder:1x16:64", "decoder:1x32:64"
SAMPLING = {"max_new_tokens": 4, "samples": 4}
EXAMPLES = {"labels": 100, "student": "cnn:4,8", "teacher": "cnn:8,16", "data": "digits"}
QUESTIONS = {"sampling": SAMPLING, "lr": 1e-2, "schedule": "constant", "validation": 0.1, "test": 0.1}
TEACHERS: dict = {}
OPENED: dict = {}


def material(name: str) -> str:
    return catalogue.find(name).material


def of(kind: str) -> tuple[str, ...]:
    """The methods of a material."""
    return tuple(name for name in NAMES if material(name) == kind)


def one_of_each(names: Iterable[str]) -> list:
    """Methods for `parametrize`: the first of all that need the same parts and data; the others are slow."""
    first: dict[object, str] = {}
    found = []
    for name in names:
        key = catalogue.find(name).needs, str(settings(name).get("data", "")).partition(":")[0]
        found.append(pytest.param(name, marks=[] if first.setdefault(key, name) == name else pytest.mark.slow))
    return found


@cache
def claimed(name: str) -> dict[str, object]:
    """What the method's claim sets, for its own arm; empty where it claims nothing."""
    claim = catalogue.find(name).claim
    if claim is None:
        return {}
    arm = claim.arms[claim.method]
    return {"data": claim.world, **claim.settings, **({} if isinstance(arm, str) else dict(arm))}


def settings(name: str) -> dict[str, object]:
    """What a run of the method starts from."""
    if material(name) == "examples":
        return {"batch_size": 24, **(claimed(name) or EXAMPLES)}
    own = {option.name for option in catalogue.find(name).options}
    return {"batch_size": 16, **QUESTIONS, **{key: value for key, value in claimed(name).items() if key in own}}


def keep_teacher(name, learner, cost=None):
    """Trains a teacher once for all tests."""
    key = (name, str(learner))
    if cost is not None:
        TEACHERS[key] = copy.deepcopy(learner.state_dict()), cost
    if key not in TEACHERS:
        return None
    state, spent = TEACHERS[key]
    learner.load_state_dict(state)
    return copy.copy(spent)


def ready(name: str, *, train: bool = False, objects: Objects | None = None, **changes) -> Run:
    """A run of a method before its first step; its teacher is trained only where that matters."""
    given = {} if material(name) == "examples" else {"data": questions(), "student": LEARNER, "teacher": TEACHER}
    values = {**settings(name), "method": name, "steps": 3, "seed": 0, **given, **changes}
    if material(name) == "examples":
        values["batch_size"] = changes.get("batch_size", min(24, int(values["batch_size"])))
    if not accepts(catalogue.find(name), "teacher"):
        values.pop("teacher", None)
    config, found = running.split_arguments(None, **values)
    data = None if found.data is not None or objects is not None else opened(config)
    return prepare(config, objects or found, data=data, keeper=keep_teacher, teach=train)


def opened(config: RunConfig) -> Data:
    """The data of a run, which are opened once for all tests of it."""
    key = repr((config.data, config.split, config.select, config.seed))
    if key not in OPENED:
        OPENED[key] = finding.find(catalogue.find(config.method)).open(config, None)
    return OPENED[key]


def taught(prepared: Run, **settings) -> FitResult:
    """The result of a run's steps."""
    result = quiet_fit(
        prepared.method,
        prepared.source,
        budget=prepared.config.budget,
        optimizer=prepared.config.optimizer,
        seed=prepared.config.seed,
        **{"device": "cpu", "precision": "float32", "monitors": [], "log_every": 1, **settings},
    )
    assert result.status == "done", result.reason
    return result


def tensors(state, prefix=""):
    """The tensors of a nested state by their place."""
    if isinstance(state, torch.Tensor):
        return {prefix: state.clone()}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return {key: value for name, part in items for key, value in tensors(part, f"{prefix}/{name}").items()}


def same(first, second) -> bool:
    """Whether two states hold the same tensors, to the bit."""
    first, second = tensors(first), tensors(second)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
