"""FlexMatch on series that may begin anywhere."""

import torch

from conftest import quiet_fit
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.methods.semi_supervised.flexmatch import Config, FlexMatch
from didact.sources import BatchSource
from didact.sources.augment_series import roll
from didact.types import IGNORE, Examples


def series(seed=0, size=96):
    """A long bump or two short ones at the beginning; a third of the series have a label."""
    chance = torch.Generator().manual_seed(seed)
    label, place = torch.arange(size) % 2, torch.arange(20)
    x = torch.where(label[:, None] == 0, (place < 6).float(), ((place < 3) | ((place >= 8) & (place < 11))).float())
    x = (x + 0.1 * torch.randn(x.shape, generator=chance))[:, None]
    known = torch.arange(size) < size // 3
    return Examples(
        tensors={"x": x, "label": torch.where(known, label, IGNORE), "id": torch.arange(size)},
        task="classification",
        modality="series",
        classes=("long", "short"),
        name="bumps",
    )


def agreement(weight, strong="roll"):
    """How often a student answers alike for a series and the same series begun elsewhere."""
    examples = series()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    learner = ModuleLearner(net)
    source = BatchSource(examples, batch_size=48, seed=0, views={"weak": "none", "strong": strong})
    method = FlexMatch(Config(threshold=0.6, weight=weight), learner, examples.batch(slice(0, 4)), examples.size)
    quiet_fit(method, source, budget=Budget(steps=60), optimizer=OptimizerConfig(lr=0.01))
    seen = series(seed=1).tensors["x"]
    moved = roll(seen, 1.0, torch.Generator().manual_seed(2))
    with torch.no_grad():
        return float((net(seen).argmax(1) == net(moved).argmax(1)).float().mean())


def test_answers_come_to_hold_wherever_a_series_begins():
    learned, labels, still = agreement(1.0), agreement(0.0), agreement(1.0, strong="none")
    assert learned > labels + 0.1
    assert learned > still + 0.1
