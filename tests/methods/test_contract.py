"""What every method must do, one matrix over all that the catalogue finds; for language models, see its neighbour.

A method's smallest set-up is what its own claim runs (its world, learner, teacher and options), cut down to a few
steps; a method that claims nothing learns digits with small convolutional nets. Nothing here knows any method by name.
"""

import copy
import dataclasses
import math
import typing
from functools import cache

import pytest
import torch
from torch import nn

from conftest import quiet_fit
from didact import catalogue, worlds
from didact.errors import ConfigError
from didact.experiment import running
from didact.experiment.material import Objects, Run
from didact.experiment.preparing import accepts, prepare
from didact.loop import OptimizerConfig, Validation
from didact.loop.checkpoint import read_checkpoint, save_checkpoint
from didact.materials.examples.source import train_of
from didact.types import Method
from in_order import InOrder

EVERY = catalogue.names()
NAMES = tuple(name for name in EVERY if catalogue.find(name).method_type.feed.material == "examples")
DEFAULT = {"labels": 100, "student": "cnn:4,8", "teacher": "cnn:8,16"}
TEACHERS: dict = {}
FRACTIONS = (0.25, 0.75)
STEPS = 6
"""Of a run that is stopped after three of them; what a method does at certain shares of the budget lies in both."""


@cache
def settings(name: str) -> tuple[tuple[str, object], ...]:
    """What the method's claim says of it, or what any method can start from."""
    claim = catalogue.find(name).claim
    if claim is None:
        return tuple({"method": name, "data": "digits", **DEFAULT}.items())
    arm = claim.arms[claim.method]
    own = {"method": arm} if isinstance(arm, str) else dict(arm)
    return tuple({"data": claim.world, **claim.settings, **own}.items())


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
    values = {**dict(settings(name)), "steps": 3, "batch_size": 24, "seed": 0, **changes}
    if not accepts(catalogue.find(name), "teacher"):
        values.pop("teacher", None)
    config, _ = running.split_arguments(None, **values)
    return prepare(config, objects, keeper=keep_teacher, teach=train)


def taught(name: str, *, prepared: Run | None = None, settings: dict | None = None, **changes):
    """The result of three steps, and the method after them."""
    prepared = prepared or ready(name, **changes)
    options = {"device": "cpu", "precision": "float32", "monitors": [], "log_every": 1}
    result = quiet_fit(
        prepared.method,
        prepared.source,
        budget=prepared.config.budget,
        optimizer=prepared.config.optimizer,
        seed=prepared.config.seed,
        **{**options, **(settings or {})},
    )
    assert result.status == "done", result.reason
    return result, prepared.method


def tensors(state, prefix=""):
    """The tensors of a nested state by their place."""
    if isinstance(state, torch.Tensor):
        return {prefix: state.clone()}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return {key: value for name, part in items for key, value in tensors(part, f"{prefix}/{name}").items()}


def total(method: Method, batch, seed=0) -> float:
    torch.manual_seed(seed)
    return method.loss(batch).total().item()


def overfit(method: Method, batch, fraction: float, steps: int) -> list[float]:
    """The losses on one batch, met again and again."""
    optimizer = OptimizerConfig(lr=3e-3, schedule="constant").build(method.parameters())
    losses = []
    for step in range(steps):
        method.step, method.fraction = step, fraction
        terms = method.loss(batch)
        losses.append(terms.total().item())
        terms.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    return losses


@pytest.mark.parametrize("name", NAMES)
def test_it_lowers_its_own_loss(name):
    for fraction in FRACTIONS:
        prepared = ready(name)
        torch.manual_seed(0)
        losses = overfit(prepared.method, next(iter(prepared.source)), fraction, 24)
        assert all(map(math.isfinite, losses))
        assert sum(losses[-4:]) < sum(losses[:4]), f"at {fraction} of the budget"


@pytest.mark.parametrize("name", NAMES)
def test_its_state_survives_saving_and_loading(name, tmp_path):
    _, first = taught(name)
    save_checkpoint(tmp_path / "checkpoint", first.state_dict())
    # Another seed, so that nothing is the same by chance; but the same examples.
    second = ready(name, seed=5, split_seed=0).method
    before = tensors(second.state_dict())
    second.load_state_dict(read_checkpoint(tmp_path / "checkpoint"))
    mine, theirs = tensors(first.state_dict()), tensors(second.state_dict())
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert any(not torch.equal(mine[key], before[key]) for key in mine if key in before)


@pytest.mark.parametrize("name", NAMES)
def test_two_halves_equal_one_whole(name):
    prepared = ready(name)
    method = prepared.method
    if method.feed.coupled or type(method).counts is Method.counts:
        pytest.skip("its batches cannot be cut, and the loop refuses to")
    batch = next(iter(prepared.source))
    for fraction in FRACTIONS:
        method.fraction = fraction
        if total(copy.deepcopy(method), batch) != total(copy.deepcopy(method), batch, seed=1):
            pytest.skip("it draws at random, for a half otherwise than for the whole")
        gradients = []
        for size in (batch.size, batch.size // 2):
            one = copy.deepcopy(method)
            counts = one.counts(batch)
            for part in batch.split(size):
                one.loss(part).backward(counts)
            gradients.append([p.grad for p in one.parameters()])
        for whole, halves in zip(*gradients, strict=True):
            assert (whole is None) == (halves is None)
            if whole is not None:
                torch.testing.assert_close(halves, whole, rtol=1e-3, atol=1e-5 * (1 + whole.abs().max().item()))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name):
    first, other = (tensors(taught(name, seed=seed)[1].state_dict()) for seed in (0, 1))
    with InOrder():
        again = tensors(taught(name, seed=0)[1].state_dict())
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first if first[key].shape == other[key].shape)


@pytest.mark.parametrize("name", EVERY)
def test_its_config_refuses_nonsense(name):
    info = catalogue.find(name)
    hints = typing.get_type_hints(info.config_type)
    words = {option.name: option.help for option in info.options}
    for field in dataclasses.fields(info.config_type):
        kinds = {hints[field.name], *typing.get_args(hints[field.name])}
        if not kinds & {int, float} or "any number" in words[field.name]:
            continue
        several = typing.get_origin(hints[field.name]) is tuple
        for nonsense in (math.nan, -1_000_000_000):
            with pytest.raises(ConfigError, match=field.name):
                info.config_type(**{field.name: (nonsense,) if several else nonsense})


class StoppedError(Exception):
    """What ends a run before its time."""


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(name, tmp_path):
    def stop(_learner):
        evaluations.append(True)
        if len(evaluations) == 3:
            raise StoppedError
        return {"accuracy": 0.0}

    evaluations: list[bool] = []
    _, calm = taught(name, steps=STEPS)
    kept = {"run": tmp_path / "run", "checkpoint_every": 1}
    # Judged at the beginning and after every other step; what is kept last is the step before it stops.
    with pytest.raises(StoppedError):
        taught(name, steps=STEPS, settings={**kept, "validation": Validation(stop), "evaluate_every": 2})
    result, hunted = taught(name, steps=STEPS, settings={**kept, "resume": True})
    assert len([record for record in result.history if "loss/total" in record]) == STEPS
    mine, theirs = tensors(hunted.state_dict()), tensors(calm.state_dict())
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


class Own(nn.Module):
    """A user's own net: none of didact's parts in it, and its answer in a mapping."""

    def __init__(self, shape, width, outputs):
        super().__init__()
        channels = shape[0] if len(shape) == 3 else 1
        layers = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        size = width * (shape[1] // 2) * (shape[2] // 2) if len(shape) == 3 else shape[0]
        self.body = nn.Sequential(*(layers if len(shape) == 3 else [nn.Identity()]))
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(size, 4 * width), nn.ReLU())
        self.head = nn.Linear(4 * width, outputs)

    def forward(self, x):
        return {"logits": self.head(self.features(self.body(x)))}


@pytest.mark.parametrize("name", NAMES)
def test_it_works_with_ones_own_module_and_tensors(name):
    if name == "autodistil":
        pytest.skip("it cuts didact's own transformers down, and refuses other modules")
    given = dict(settings(name))
    examples = worlds.load(str(given["data"]))
    if examples.modality == "text":
        pytest.skip("a module of one's own that reads text is a tokenizer of one's own, too")
    torch.manual_seed(0)
    outputs = len(examples.classes) or 1
    own = {part: Own(examples.shape, width, outputs) for part, width in (("student", 3), ("teacher", 5))}
    built_in = str(given.get("teacher", "")).partition(":")[0] in ("mlp", "cnn", "transformer")
    if not (accepts(catalogue.find(name), "teacher") and built_in):
        own.pop("teacher")
    changes = {part: f"<{type(module).__name__}>" for part, module in own.items()}
    data = dataclasses.replace(examples, tensors=dict(examples.tensors), name="one's own")
    prepared = ready(name, objects=Objects(data=data, **own), **changes)
    before = copy.deepcopy(own["student"].state_dict())
    taught(name, prepared=prepared)
    after = own["student"].state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    answer = prepared.method.delivered(train_of(prepared).batch(slice(0, 5))).logits
    assert answer.shape == (5, outputs)
    assert torch.isfinite(answer).all()


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_runs_and_stays_finite(name):
    result, method = taught(name, settings={"precision": "bfloat16"})
    for record in result.history:
        assert all(math.isfinite(value) for key, value in record.items() if key == "loss/total")
    for parameter in method.parameters():
        assert torch.isfinite(parameter).all()
        assert parameter.dtype == torch.float32
