"""What `didact.fit` costs next to a bare PyTorch loop that does the same arithmetic and ends with the same weights.

Both sides gather their batches by index in the same order (on the CPU, and copy them where the device is another), step
a fused AdamW on a cosine schedule, and start from the same weights. didact has its default monitors and its cost ledger
on; the bare loop reads no loss and checks nothing.
"""

import math
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import harness

LR, WEIGHT_DECAY, SEED = 1e-3, 0.01, 0
Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What both sides do: so many steps on so many random examples.

    Attributes:
        module: makes the module, from the global generator.
        shape: of one input.
        examples: how many there are; a multiple of the batch size.
        batch_size: examples in a step.
        steps: how many steps one run takes.
        device: where.
    """

    module: Callable[[], nn.Module]
    shape: tuple[int, ...]
    examples: int
    batch_size: int
    steps: int
    device: str

    def start(self) -> tuple[nn.Module, Tensor, Tensor]:
        """The module with its first weights, inputs and labels; the same at each call."""
        torch.manual_seed(SEED)
        inputs = torch.rand(self.examples, *self.shape)
        return self.module(), inputs, torch.randint(10, (self.examples,))


def mlp() -> nn.Module:
    """64-256-10: about 19,000 parameters."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


def convolutional(width: int) -> nn.Module:
    """Two convolutions of 3x3 over images of 28x28, each with a pooling, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 49, 10),
    )


def bare_prepare(work: Work) -> tuple[nn.Module, Tensor, Tensor]:
    """The module on the device, and the data."""
    module, inputs, labels = work.start()
    return module.to(work.device), inputs, labels


def bare_run(work: Work, prepared: tuple[nn.Module, Tensor, Tensor]) -> Weights:
    """The bound: the leanest loop that one would write by hand."""
    module, inputs, labels = prepared
    optimizer = torch.optim.AdamW(module.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    group = optimizer.param_groups[0]
    generator = torch.Generator().manual_seed(SEED)
    order, position = torch.empty(0), work.examples
    for step in range(work.steps):
        if position == work.examples:
            order, position = torch.randperm(work.examples, generator=generator), 0
        chosen = order[position : position + work.batch_size]
        position += work.batch_size
        x, label = inputs.index_select(0, chosen), labels.index_select(0, chosen)
        if work.device != "cpu":
            x, label = x.to(work.device, non_blocking=True), label.to(work.device, non_blocking=True)
        loss = F.cross_entropy(module(x), label)
        loss.backward()
        group["lr"] = LR * (0.5 * (1.0 + math.cos(math.pi * (step / work.steps))))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return module.state_dict()


def didact_prepare(work: Work) -> tuple[Any, Any]:
    """A method and a source, which `fit` is given."""
    from didact.learners import ModuleLearner
    from didact.methods.supervised.supervised import Config, Supervised
    from didact.sources import BatchSource
    from didact.types import Examples

    module, inputs, labels = work.start()
    examples = Examples(
        tensors={"x": inputs, "label": labels, "id": torch.arange(work.examples)},
        task="classification",
        modality="image" if len(work.shape) == 3 else "table",
        classes=tuple("0123456789"),
    )
    return Supervised(Config(), ModuleLearner(module)), BatchSource(examples, batch_size=work.batch_size, seed=SEED)


def didact_run(work: Work, prepared: tuple[Any, Any]) -> Weights:
    """The call that a user would write, in float32 so that the arithmetic is the same."""
    from didact import Budget, LoopConfig, OptimizerConfig, fit

    method, source = prepared
    result = fit(
        method,
        source,
        budget=Budget(steps=work.steps),
        optimizer=OptimizerConfig(name="adamw", lr=LR, weight_decay=WEIGHT_DECAY, schedule="cosine"),
        loop=LoopConfig(device=work.device, precision="float32", progress=False),
    )
    assert result.cost.examples == work.steps * work.batch_size, "the ledger miscounts the examples"
    return method.learner.module.state_dict()


def check(results: Mapping[str, Weights]) -> None:
    """Both sides ended with the same weights, to the bit, and these are not those that they began with."""
    bare, ours = results["bare PyTorch"], results["didact.fit"]
    assert bare.keys() == ours.keys()
    for name, weights in bare.items():
        assert torch.equal(weights, ours[name]), f"the weights {name!r} differ"


def case(name: str, work: Work, target: float, rounds: int | None = None) -> harness.Case:
    """Both sides of some work."""
    return harness.Case(
        name=name,
        sides={
            "bare PyTorch": harness.Side(prepare=partial(bare_prepare, work), run=partial(bare_run, work)),
            "didact.fit": harness.Side(prepare=partial(didact_prepare, work), run=partial(didact_run, work)),
        },
        bound="bare PyTorch",
        check=check,
        units=work.steps,
        targets={"didact.fit": target},
        rounds=rounds,
    )


def cases(options: Namespace) -> list[harness.Case]:
    """A net so small that the loop shows, and one whose step takes about 20 ms on one core."""
    # The same kernels on both sides, whatever was timed before.
    torch.backends.cudnn.deterministic = True
    device = options.device
    small = Work(module=mlp, shape=(64,), examples=8192, batch_size=128, steps=1000, device=device)
    wide = partial(convolutional, 24)
    # As many steps as there are from one probe of the monitors to the next.
    large = Work(module=wide, shape=(1, 28, 28), examples=2048, batch_size=64, steps=500, device=device)
    return [
        case("MLP 64-256-10, batch 128", small, 1.05),
        case("convolutional net, batch 64", large, 1.01, rounds=9),
    ]


if __name__ == "__main__":
    sys.exit(harness.main("loop_overhead", harness.arguments(__doc__ or ""), cases))
