"""An active learner that a user writes in one short file: it asks where it is unsure, pays for what it asks for, and is
resumed to the bit."""

import importlib.util
import os
import signal

import pytest
import torch
from torch import nn

from conftest import quiet_fit
from didact import Budget
from didact.learners import ModuleLearner
from didact.loop import OptimizerConfig
from didact.sources import Rounds, from_tensors
from didact.types import Method
from rounds.doubles import Oracle

ACTIVE = '''"""Uncertainty sampling: labels are asked for where the student is least sure (Lewis & Gale 1994)."""

import torch

from didact.losses.labels.supervised import label_loss
from didact.types import Method, Terms


class LeastSure:
    def __init__(self, learner, pool):
        self.learner, self.pool = learner, pool

    def sample(self, count):
        with torch.no_grad():
            sure = self.learner(self.pool.inputs()).logits.softmax(-1).amax(-1)
        return sure.masked_fill(self.pool.known, 2.0).topk(count, largest=False).indices

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Active(Method):
    def __init__(self, learner):
        self.learner = learner

    def collect(self, rows, pool):
        pool.reveal(rows)
        return pool.reveal(pool.known.nonzero()[:, 0])

    def loss(self, batch):
        return Terms(label=label_loss(self.learner(batch).logits, batch["label"]))
'''
BOUNDARY = 0.37
QUIET = {"monitors": [], "device": "cpu"}


@pytest.fixture
def learn(tmp_path):
    """Has the method in a file of at most 40 lines learn, with its curriculum or another."""
    assert len(ACTIVE.splitlines()) <= 40
    (tmp_path / "active.py").write_text(ACTIVE)
    spec = importlib.util.spec_from_file_location("active", tmp_path / "active.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def begun(pool, steps, curriculum=module.LeastSure, **options):
        torch.manual_seed(0)
        method = module.Active(ModuleLearner(nn.Linear(1, 2)))
        chosen = curriculum(method.learner, pool)
        source = Rounds(chosen, pool, method.collect, size=4, epochs=50, restart="optimizer")
        optimizer = OptimizerConfig(lr=0.1, schedule="constant")
        return method, quiet_fit(method, source, budget=Budget(steps=steps), optimizer=optimizer, **QUIET, **options)

    return begun


def oracle(count=401):
    x = torch.linspace(-1, 1, count)[:, None]
    return Oracle(from_tensors(x=x, label=(x[:, 0] > BOUNDARY).long()))


class AtRandom:
    """The control: asks for any label that is not known."""

    def __init__(self, _learner, pool):
        self.pool, self.generator = pool, torch.Generator().manual_seed(0)

    def sample(self, count):
        left = (~self.pool.known).nonzero()[:, 0]
        return left[torch.randperm(len(left), generator=self.generator)[:count]]

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


def test_labels_are_asked_for_near_the_boundary_and_charged_as_they_are_asked_for(learn):
    found = []
    for curriculum in ({}, {"curriculum": AtRandom}):
        pool = oracle()
        method, result = learn(pool, 400, **curriculum)
        # Eight rounds of four, though each round learns from all that is known.
        assert result.cost.labels == int(pool.known.sum()) == 32
        asked = pool.examples.tensors["x"][pool.known][:, 0]
        with torch.no_grad():
            right = method.learner(pool.inputs()).logits.argmax(-1) == pool.examples.tensors["label"]
        found.append(((asked - BOUNDARY).abs().median().item(), right.float().mean().item()))
    (near, mine), (far, control) = found
    assert near < 0.2 * far
    assert mine > 0.98 and mine > control


@pytest.mark.parametrize("stopped", [30, 50, 137])
def test_an_active_learner_that_was_cut_short_asks_and_pays_as_if_it_had_not_been(
    learn, tmp_path, monkeypatch, stopped
):
    calm, whole = learn(pool := oracle(), 200)
    left = [stopped]

    def interrupt(_method):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Method, "after_step", interrupt)
        _, cut = learn(oracle(), 200, run=tmp_path / "run")
    assert (cut.status, cut.steps) == ("interrupted", stopped)
    assert cut.cost.labels == 4 * -(-stopped // 50)
    hunted, rest = learn(other := oracle(), 200, run=tmp_path / "run", resume=True)
    assert torch.equal(other.known, pool.known)
    assert rest.cost.labels == whole.cost.labels == 16
    assert torch.equal(hunted.learner.module.weight, calm.learner.module.weight)
