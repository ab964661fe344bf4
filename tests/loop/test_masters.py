"""Weights in bfloat16: their copies in float32 take the steps."""

import pytest
import torch
from torch import nn

from conftest import planted, quiet_fit
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.loop.stepping import Stepper
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource
from didact.types import Batch, Method, Term, Terms

SETTINGS = {
    "adamw": OptimizerConfig(lr=1e-4, schedule="constant", weight_decay=0.0),
    "adam": OptimizerConfig(name="adam", lr=1e-4, schedule="constant", weight_decay=0.0),
    "sgd": OptimizerConfig(name="sgd", lr=1e-4, schedule="constant", weight_decay=0.0, momentum=0.0),
}
START = torch.linspace(1.1, 1.9, 256)[None]
BATCH = Batch({"x": torch.ones(2, 256), "id": torch.arange(2)})


class Downhill(Method):
    """Lowers the sum of its weights, of 256 values between 1 and 2, where bfloat16 steps by 1/128."""

    def __init__(self, dtype):
        self.learner = nn.Linear(256, 1, bias=False)
        self.learner.weight.data = START.clone().to(dtype)

    def loss(self, batch):
        return Terms(sum=Term(self.learner(batch["x"].to(self.learner.weight)).sum(), batch.size))


def stepped(dtype, optimizer, steps=50):
    method = Downhill(dtype)
    stepper = Stepper(method, optimizer)
    for step in range(steps):
        stepper.backward(method.loss(BATCH))
        stepper.advance(stepper.gradients(step))
        stepper.clear()
    return method, stepper


@pytest.mark.parametrize("optimizer", SETTINGS.values(), ids=SETTINGS)
def test_steps_below_the_spacing_of_the_weights_are_not_lost(optimizer):
    exact, _ = stepped(torch.float32, optimizer)
    method, stepper = stepped(torch.bfloat16, optimizer)
    (copy,) = stepper.stepped
    start, gone = START.bfloat16().float(), exact.learner.weight - START
    torch.testing.assert_close(copy - start, gone, atol=1e-5, rtol=1e-4)
    assert torch.equal(method.learner.weight, copy.bfloat16())
    # Each step is an eightieth of the spacing; fifty make a weight move.
    assert gone.mean().item() == pytest.approx(-0.005, rel=0.01)
    assert ((method.learner.weight.float() - start) == -1 / 128).all()
    # Without the copies, torch's own step moves nothing.
    alone = Downhill(torch.bfloat16)
    plain = optimizer.build(alone.learner.parameters())
    for _ in range(50):
        alone.learner.weight.grad = torch.ones_like(alone.learner.weight)
        plain.step()
    assert torch.equal(alone.learner.weight.float(), start)


def test_gradients_of_parts_of_a_batch_are_summed_in_float32():
    method = Downhill(torch.bfloat16)
    stepper = Stepper(method, SETTINGS["sgd"])
    for size in (256.0, 0.5, 0.5):
        stepper.backward(Terms(sum=Term(size * method.learner.weight.sum(), 1)))
    # In bfloat16, 256 + 0.5 is 256.
    assert stepper.gradients(0)[0].unique().tolist() == [257.0]
    assert method.learner.weight.grad is None


def test_what_something_else_writes_is_taken_over():
    method, stepper = stepped(torch.bfloat16, SETTINGS["sgd"], steps=3)
    with torch.no_grad():
        method.learner.weight.fill_(4.0)
    stepper.backward(method.loss(BATCH))
    stepper.advance(stepper.gradients(3))
    torch.testing.assert_close(stepper.stepped[0], torch.full((1, 256), 4.0 - 1e-4), atol=1e-6, rtol=0.0)


def run(path, steps, **more):
    data = planted()
    data.tensors["x"] = data.tensors["x"].bfloat16()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).to(torch.bfloat16)
    method = Supervised(Config(), ModuleLearner(net))
    source = BatchSource(data, batch_size=20, seed=1)
    settings = {"optimizer": OptimizerConfig(lr=1e-3, schedule="constant"), "device": "cpu", "monitors": []}
    quiet_fit(method, source, budget=Budget(steps=steps), run=path, **settings, **more)
    return net


def test_a_resumed_run_has_the_same_bits(tmp_path):
    whole = run(tmp_path / "whole", 40)
    run(tmp_path / "cut", 25)
    resumed = run(tmp_path / "cut", 40, resume=True)
    assert all(map(torch.equal, resumed.parameters(), whole.parameters()))
