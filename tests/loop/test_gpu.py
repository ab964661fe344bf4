"""The loop on a CUDA device: the same learning, without ever waiting for the device inside a step."""

import pytest
import torch

from conftest import METHODS, make_method, net, quiet_fit, weights
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.loop.engine import Engine
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource
from didact.types import Term

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def go(problem, method, steps, *, device="cuda", **options):
    source = BatchSource(problem, batch_size=20, views=method.feed.views)
    options = {"precision": "float32", **options}
    return quiet_fit(method, source, budget=Budget(steps=steps), device=device, **options)


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_what_the_cpu_learns(problem, name):
    found = []
    for device in ("cpu", "cuda"):
        method = make_method(name)
        go(problem, method, 30, device=device)
        found.append(weights(method))
    assert next(iter(found[1].values())).device.type == "cuda"
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key].cpu(), value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_device(problem, name, monkeypatch):
    step, seen = Engine.step, []

    def watched(self, batch, fraction):
        # The first steps make the optimizer's state and count operations.
        if self.cost.steps < 3:
            return step(self, batch, fraction)
        torch.cuda.set_sync_debug_mode("error")
        try:
            seen.append(self.cost.steps)
            return step(self, batch, fraction)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Engine, "step", watched)
    go(problem, make_method(name), 30, clip_norm=1.0)
    assert len(seen) == 27


class Poisoned(Supervised):
    """Gives a loss that is not finite from a given call on."""

    def __init__(self, at):
        super().__init__(Config(), ModuleLearner(net()))
        self.at, self.calls = at, 0

    def loss(self, batch):
        terms = super().loss(batch)
        self.calls += 1
        if self.calls == self.at:
            terms["label"] = Term(terms["label"].sum * float("nan"), terms["label"].count)
        return terms


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_number_that_is_not_finite_never_reaches_the_weights(problem, name):
    options = {"optimizer": OptimizerConfig(name=name, schedule="constant")}
    poisoned, calm = Poisoned(8), Supervised(Config(), ModuleLearner(net()))
    result = go(problem, poisoned, 40, **options)
    go(problem, calm, 7, **options)
    assert (result.status, result.steps) == ("stopped", 7)
    for mine, theirs in zip(poisoned.parameters(), calm.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_an_optimizer_of_ones_own_is_guarded_too(problem):
    options = {"optimizer": lambda p: torch.optim.RMSprop(p, lr=1e-3)}
    poisoned, calm = Poisoned(8), Supervised(Config(), ModuleLearner(net()))
    result = go(problem, poisoned, 40, **options)
    go(problem, calm, 7, **options)
    assert (result.status, result.steps) == ("stopped", 7)
    for mine, theirs in zip(poisoned.parameters(), calm.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_bfloat16_is_chosen_and_learns(problem):
    method = Supervised(Config(), ModuleLearner(net(32)))
    seen = set()
    method.learner.module[0].register_forward_hook(lambda _m, _a, result: seen.add(result.dtype))
    result = go(problem, method, 200, precision="auto", optimizer=OptimizerConfig(lr=1e-2), log_every=20)
    assert torch.bfloat16 in seen
    assert method.learner.module[0].weight.dtype == torch.float32
    assert result.history[-1]["loss/total"] < 0.3 * result.history[0]["loss/total"]


@pytest.mark.parametrize("name", METHODS)
def test_it_resumes_to_the_bit(problem, name, tmp_path):
    whole = make_method(name, dropout=0.3)
    go(problem, whole, 40, run=tmp_path / "whole", checkpoint_every=10)
    first = make_method(name, dropout=0.3)

    class Stops:
        action = "pause"

        def observe(self, window):
            from didact.types import Verdict

            return Verdict("pause" if window.step >= 20 else "ok", "Stops", 0.0, "It was asked to.")

    paused = go(problem, first, 40, run=tmp_path / "cut", checkpoint_every=10, log_every=10, monitors=[Stops()])
    assert paused.steps == 20
    second = make_method(name, seed=7, dropout=0.3)
    go(problem, second, 40, run=tmp_path / "cut", checkpoint_every=10, resume=True, monitors=[])
    for key, value in weights(whole).items():
        assert torch.equal(weights(second)[key], value), key


def test_peak_memory_is_the_devices(problem):
    result = go(problem, make_method("supervised"), 5)
    assert 0 < result.cost.peak_memory < 2**30
