"""What a method keeps in its attributes is trained, saved, or refused by name."""

import sys
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import net, planted, quiet_fit, weights
from didact.errors import CheckpointError, ConfigError
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.loop.checkpoint import load_latest
from didact.loop.state import LARGE, Attributes
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource
from didact.types import Buffer, Question, Term, Terms, Verdict

STEPS = 12


class Own(Supervised):
    """Supervised, with attributes of one's own."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(Config(), ModuleLearner(net(dropout=0.2)))
        for name, value in attributes.items():
            setattr(self, name, value)


class Stop:
    """A monitor that pauses the run at a step, and counts what it saw."""

    action = "pause"

    def __init__(self, at: int, seen: int = 0) -> None:
        self.at, self.seen = at, seen

    def observe(self, window):
        self.seen += 1
        level = "pause" if window.step == self.at else "ok"
        return Verdict(level, "Stop", float(window.step), "It was asked to.")

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state, /):
        self.seen = state["seen"]


def go(method, run=None, *, monitors=(), resume=False, steps=STEPS):
    source = BatchSource(planted(), batch_size=20)
    options = {"optimizer": OptimizerConfig(lr=0.03), "log_every": 1, "device": "cpu"}
    return quiet_fit(
        method, source, budget=Budget(steps=steps), run=run, resume=resume, monitors=list(monitors), **options
    )


def resumed_equals_whole(make, path: Path) -> bool:
    whole, stopped, resumed = make(), make(), make()
    go(whole)
    assert go(stopped, path, monitors=[Stop(5)]).status == "paused"
    go(resumed, path, resume=True)
    mine, theirs = weights(resumed), weights(whole)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


class Wandering(Own):
    """Its loss is weighed by a level that every loss moves."""

    def loss(self, batch):
        level = self.level
        held = level.value if isinstance(level, Buffer) else level
        terms = super().loss(batch)
        moved = 0.7 * held + 0.3 * (terms.total().detach() if isinstance(held, torch.Tensor) else 2.0)
        if isinstance(level, Buffer):
            level.value = moved
        else:
            self.level = moved
        return Terms(label=Term(terms["label"].sum * held, terms["label"].count))


@pytest.mark.parametrize("start", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
def test_a_buffer_is_the_same_again_in_a_resumed_run(start, tmp_path):
    assert resumed_equals_whole(lambda: Wandering(level=Buffer(start)), tmp_path / "run")


@pytest.mark.parametrize("start", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
def test_a_figure_that_changes_and_is_not_saved_is_named_with_the_remedy(start, tmp_path):
    with pytest.raises(ConfigError, match=r"Wandering\.level changed during the run.*self\.level = Buffer\("):
        go(Wandering(level=start), tmp_path / "run")


def test_a_run_without_checkpoints_may_keep_what_it_likes():
    assert go(Wandering(level=0.1)).status == "done"


def test_a_run_goes_on_where_a_figure_became_a_buffer_before_it_changed(tmp_path):
    go(Own(level=0.1), tmp_path / "run", monitors=[Stop(5)])
    method = Own(level=Buffer(0.1))
    assert go(method, tmp_path / "run", resume=True).status == "done"
    assert method.level.value == 0.1


class Deep(Own):
    """Learns with heads that lie deep in its attributes."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.nested = {"a": {"head": nn.Linear(4, 3)}, "b": [[], (nn.Linear(4, 3), None, 0.5)]}
        super().__init__()

    def loss(self, batch):
        x, label = batch["x"], batch["label"]
        heads = (self.nested["a"]["head"], self.nested["b"][1][0])
        own = [nn.functional.cross_entropy(head(x), label, reduction="sum") for head in heads]
        return Terms(super().loss(batch), own=Term(own[0] + own[1], batch.size))


def test_modules_at_any_depth_are_trained_and_saved(tmp_path):
    method, before = Deep(), [p.clone() for p in Deep().nested["a"]["head"].parameters()]
    assert list(method.modules()) == ["nested.a.head", "nested.b.1.0", "learner"]
    go(method, tmp_path / "run")
    assert all(not torch.equal(a, b) for a, b in zip(method.nested["a"]["head"].parameters(), before, strict=True))
    assert all(p.grad is None for p in method.parameters())
    state, _, _ = load_latest(tmp_path / "run" / "checkpoints")
    assert torch.equal(state["method"]["nested.b.1.0"]["weight"], method.nested["b"][1][0].weight)
    assert resumed_equals_whole(Deep, tmp_path / "other")


def test_two_parts_with_one_place_are_refused():
    method = Own(nets={"a.b": nn.Linear(1, 1), "a": {"b": nn.Linear(1, 1)}})
    with pytest.raises(ConfigError, match=r"Two parts are called nets\.a\.b"):
        method.state_dict()


def test_saving_a_method_does_not_open_its_data():
    questions = [Question(id=i, prompt="?") for i in range(100_000)]
    calls = []

    def count(_frame, event, _argument):
        if event == "call":
            calls.append(1)

    method = Own(questions=questions, heads=[nn.Linear(1, 1)])
    sys.setprofile(count)
    try:
        state = method.state_dict()
    finally:
        sys.setprofile(None)
    assert set(state) == {"learner", "heads.0"}
    assert len(calls) < 1000


@dataclass(frozen=True)
class Settings:
    """A frozen dataclass."""

    inside: Any = None


class Helper:
    """Neither frozen nor with a state."""


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (Helper(), r"Own\.held is a Helper.*give it state_dict and load_state_dict, make it a frozen dataclass"),
        ([1, [Helper()]], r"Own\.held\.1 is a Helper"),
        (torch.Generator(), r"Own\.held is a Generator"),
        (deque([1]), r"Own\.held is a deque"),
        (nn.Parameter(torch.ones(1)), r"bare parameter, which would not be trained.*nn\.ParameterList"),
        ({"a": torch.ones(1, requires_grad=True)}, r"bare parameter"),
        (Settings(nn.Linear(1, 1)), r"a Settings that holds a module"),
        (partial(print, nn.Linear(1, 1)), r"a partial that holds a module"),
        ({nn.Linear(1, 1)}, r"a set that holds a module"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_no_checkpoint_could_hold_is_refused_before_the_first_step(value, match):
    with pytest.raises(ConfigError, match=match):
        go(Own(held=value))


@pytest.mark.parametrize(
    "value",
    [
        *(1, 0.5, True, "x", None, (1, "a"), {"a": [1, (2.0, None)]}, {1, 2}, Path("x"), np.float32(1), int, len),
        *(np.ones(3), torch.ones(3), torch.float32, torch.device("cpu"), Settings({"a": 1}), partial(print, "x")),
        *(nn.ModuleList([nn.Linear(1, 1)]), nn.ParameterDict({"a": torch.ones(1)}), Buffer([1]), planted()),
        *([nn.Linear(1, 1), None, 0.5], planted().batch(), [torch.ones(2), float("nan")], torch.tensor(float("nan"))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_configuration_data_and_parts_may_be_kept(value):
    method = Own(held=value)
    attributes = Attributes(method)
    attributes.check()


@pytest.mark.parametrize(
    ("value", "change"),
    [
        (0, lambda m: setattr(m, "held", 1)),
        ("a", lambda m: setattr(m, "held", "b")),
        ([1], lambda m: m.held.append(2)),
        ({"a": 1}, lambda m: m.held.update(a=2)),
        ({1}, lambda m: m.held.add(2)),
        ([torch.zeros(2)], lambda m: m.held[0].add_(1)),
        ({"a": np.zeros(2)}, lambda m: m.held["a"].fill(1)),
        (torch.zeros(2), lambda m: m.held.data.add_(1)),
        (np.zeros(2), lambda m: m.held.fill(1)),
        (torch.zeros(LARGE), lambda m: m.held.add_(1)),
        (torch.zeros(2), lambda m: setattr(m, "held", torch.zeros(3))),
        ([nn.Linear(1, 1), 1], lambda m: m.held.__setitem__(1, 2)),
        (1, lambda m: setattr(m, "other", 1)),
        (1, lambda m: delattr(m, "held")),
    ],
)
def test_every_kind_of_change_is_noticed(value, change):
    method = Own(held=value)
    attributes = Attributes(method)
    attributes.check()
    change(method)
    with pytest.raises(ConfigError, match="changed during the run"):
        attributes.check()


def test_scratch_that_is_empty_again_is_no_change():
    method = Own(seen=[], total=torch.zeros(2))
    attributes = Attributes(method)
    method.seen.append(torch.ones(1))
    method.total = method.total + 1
    method.seen.clear()
    method.total = torch.zeros_like(method.total)
    attributes.check()


def test_a_state_of_other_parts_is_refused_with_their_names():
    small, large = Own(heads=[nn.Linear(1, 1)]), Own(heads=[nn.Linear(1, 1), nn.Linear(1, 1)])
    with pytest.raises(CheckpointError, match=r"the method has heads\.1, of which it holds nothing"):
        large.load_state_dict(small.state_dict())
    with pytest.raises(CheckpointError, match=r"it holds heads\.1, which the method does not have"):
        small.load_state_dict(large.state_dict())


def test_each_of_two_monitors_of_a_kind_keeps_its_own_state(tmp_path):
    go(Own(), tmp_path / "run", monitors=[Stop(99, seen=100), Stop(5)])
    monitors = [Stop(99), Stop(99)]
    go(Own(), tmp_path / "run", monitors=monitors, resume=True)
    assert [monitor.seen for monitor in monitors] == [100 + STEPS, STEPS]
