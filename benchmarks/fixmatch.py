"""A step of FixMatch next to the same step in bare PyTorch, on batches with the same views.

The bare step is what a script would do: the unlabelled examples' weak views without a gradient, then their strong views
and the labelled examples' weak ones in one pass; Adam; and the average of the weights.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import harness

STEPS, LABELLED, UNLABELLED, THRESHOLD = 10, 16, 112, 0.3
SHAPES = {"digits-sized": (1, 8, 8), "3 x 32 x 32": (3, 32, 32)}


def model(shape: tuple[int, ...], device: str) -> nn.Module:
    """A convolutional net for ten classes, the same at each call."""
    torch.manual_seed(0)
    size = 32 * (shape[1] // 4) ** 2
    layers = [nn.Conv2d(shape[0], 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(size, 10)]
    return nn.Sequential(*layers).to(device)


def views(shape: tuple[int, ...], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Weak and strong views, and the labels of the first examples."""
    chance = torch.Generator().manual_seed(1)
    weak = torch.randn(LABELLED + UNLABELLED, *shape, generator=chance)
    strong = weak + 0.3 * torch.randn(weak.shape, generator=chance)
    label = torch.randint(10, (LABELLED,), generator=chance)
    return weak.to(device), strong.to(device), label.to(device)


def bare(shape: tuple[int, ...], device: str) -> Any:
    """The step of a script."""
    net, average, (weak, strong, label) = model(shape, device), model(shape, device), views(shape, device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    count = 0

    def step() -> None:
        nonlocal count
        with torch.no_grad():
            confidence, said = net(weak[LABELLED:]).softmax(-1).max(-1)
        logits = net(torch.cat([weak[:LABELLED], strong[LABELLED:]]))
        loss = F.cross_entropy(logits[:LABELLED], label)
        unlabelled = F.cross_entropy(logits[LABELLED:], said, reduction="none")
        (loss + (unlabelled * (confidence >= THRESHOLD).float()).mean()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            weight = 1.0 - min(0.999, (1 + count) / (10 + count))
            for mean, parameter in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(parameter, weight)
        count += 1

    return net, average, step


def by_didact(shape: tuple[int, ...], device: str) -> Any:
    """The step of the method."""
    from didact.learners import ModuleLearner
    from didact.methods.semi_supervised.fixmatch import Config, FixMatch
    from didact.types import IGNORE, Batch

    learner, (weak, strong, known) = ModuleLearner(model(shape, device)), views(shape, device)
    label = torch.cat([known, torch.full((UNLABELLED,), IGNORE, device=device)])
    rows = torch.arange(len(label), device=device)
    batch = Batch({"x": weak, "label": label, "id": rows, "weak.x": weak, "strong.x": strong})
    method = FixMatch(Config(threshold=THRESHOLD), learner)
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-3)

    def step() -> None:
        method.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        method.after_step()

    return learner.module, method.teacher.learner, step


def run(prepared: Any) -> list[Tensor]:
    """The weights and their averages after so many steps."""
    net, average, step = prepared
    for _ in range(STEPS):
        step()
    return [parameter.detach().clone() for part in (net, average) for parameter in part.parameters()]


def check(results: Mapping[str, list[Tensor]]) -> None:
    """Both sides have the same weights and averages."""
    bound, other = results.values()
    for mine, theirs in zip(bound, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def cases(options: Namespace) -> list[harness.Case]:
    """Small and larger images."""
    sides = {"bare PyTorch": bare, "didact": by_didact}
    return [
        harness.Case(
            name=f"FixMatch, {name}, {LABELLED} labelled and {UNLABELLED} unlabelled",
            sides={
                name: harness.Side(prepare=partial(make, shape, options.device), run=run)
                for name, make in sides.items()
            },
            bound="bare PyTorch",
            check=check,
            units=STEPS,
            targets={"didact": 1.05},
        )
        for name, shape in SHAPES.items()
    ]


if __name__ == "__main__":
    sys.exit(harness.main("fixmatch", harness.arguments(__doc__ or ""), cases))
