"""A resumed run goes on to the bit, however its parameters lie in memory."""

import pytest
import torch
from torch import nn

from conftest import quiet_fit
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource
from didact.types import Examples, Verdict

OPTIMIZERS = {
    "adamw": OptimizerConfig(lr=0.01),
    "adam": OptimizerConfig(name="adam", lr=0.01),
    "sgd": OptimizerConfig(name="sgd", lr=0.05),
    "a factory, looping": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, foreach=False),
    "a factory, fused": lambda p: torch.optim.Adagrad(p, lr=0.05, fused=True),
    "a factory, foreach": lambda p: torch.optim.NAdam(p, lr=0.01, foreach=True),
}


def images() -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(
        tensors={
            "x": torch.randn(48, 3, 6, 6, generator=generator),
            "label": torch.arange(48) % 3,
            "id": torch.arange(48),
        },
        task="classification",
        modality="image",
        classes=("a", "b", "c"),
    )


def turned(weight: torch.Tensor, order: tuple[int, ...]) -> nn.Parameter:
    """The same weights, laid out in memory with their axes in another order."""
    back = tuple(order.index(axis) for axis in range(len(order)))
    return nn.Parameter(weight.detach().permute(order).contiguous().permute(back))


def method(layout: str) -> Supervised:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 2), nn.Flatten(), nn.Linear(36, 3))
    if layout == "channels_last":
        module = module.to(memory_format=torch.channels_last)
    elif layout == "turned":
        module[0].weight = turned(module[0].weight, (3, 1, 0, 2))
        module[2].weight = turned(module[2].weight, (1, 0, 3, 2))
        module[4].weight = turned(module[4].weight, (1, 0))
    return Supervised(Config(), ModuleLearner(module))


class Pause:
    """A monitor that ends the run after four steps."""

    action = "pause"

    def observe(self, window):
        return Verdict("pause" if window.step == 4 else "ok", "Pause", 0.0, "It was asked to.")


def go(layout, optimizer, **options):
    taught = method(layout)
    strides = [p.stride() for p in taught.parameters()]
    settings = {"optimizer": OPTIMIZERS[optimizer], "device": "cpu", "log_every": 1, "monitors": [], **options}
    quiet_fit(taught, BatchSource(images(), batch_size=8), budget=Budget(steps=9), **settings)
    assert [p.stride() for p in taught.parameters()] == strides
    return taught


@pytest.mark.parametrize("layout", ["rows", "channels_last", "turned"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_moments_come_back_in_the_layout_of_their_parameter(layout, optimizer, tmp_path):
    whole = go(layout, optimizer)
    go(layout, optimizer, run=tmp_path / "run", monitors=[Pause()])
    resumed = go(layout, optimizer, run=tmp_path / "run", resume=True)
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)
