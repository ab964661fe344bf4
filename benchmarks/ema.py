"""Moving the average of a model of ten million parameters, next to the loop over parameters that most projects have.

The loop is that of many scripts (and of timm's `ModelEma`): each average is replaced by decay times itself plus
the rest times the new weight. PyTorch's own `AveragedModel` stands beside them.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import harness

DECAY, UPDATES = 0.99, 20


def model(device: str) -> nn.Module:
    """A decoder of 12 layers of 256 over 2,048 ids, 9.9 million parameters in 110 tensors, the same at each call."""
    from didact.learners import Decoder, DecoderConfig

    return Decoder(DecoderConfig.small(12, 256, vocabulary=2048)).to(device)


def weights(net: nn.Module) -> list[Tensor]:
    """Copies of the parameters."""
    return [p.detach().clone() for p in net.parameters()]


@torch.no_grad()
def by_loop(device: str) -> Any:
    """What a training script does after each step."""
    learner, average = model(device), model(device)

    @torch.no_grad()
    def update() -> None:
        for mean, weight in zip(average.parameters(), learner.parameters(), strict=True):
            mean.copy_(DECAY * mean + (1.0 - DECAY) * weight)

    return learner, average, update


def by_torch(device: str) -> Any:
    """PyTorch's own, with its fused average."""
    learner = model(device)
    average = AveragedModel(learner, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    average.update_parameters(learner)
    return learner, average.module, partial(average.update_parameters, learner)


def by_didact(device: str) -> Any:
    """What `mean_teacher` does after each step."""
    from didact.learners import ModuleLearner
    from didact.teachers import EmaTeacher

    learner = ModuleLearner(model(device))
    teacher = EmaTeacher(learner, decay=DECAY, warmup=False)
    return learner.module, teacher.learner.module, partial(teacher.update, learner)


def run(prepared: Any) -> list[Tensor]:
    """The averages after so many updates, the learner's weights growing a little before each."""
    learner, average, update = prepared
    for _ in range(UPDATES):
        update()
    return weights(average) + weights(learner)


def prepare(make: Any, device: str) -> Any:
    """A learner that has moved away from its average."""
    learner, average, update = make(device)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.mul_(1.5).add_(0.01)
    return learner, average, update


def check(results: Mapping[str, list[Tensor]]) -> None:
    """All sides have the same averages."""
    bound, *others = results.values()
    for other in others:
        for mine, theirs in zip(bound, other, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def cases(options: Namespace) -> list[harness.Case]:
    """One model."""
    sides = {"loop over parameters": by_loop, "torch AveragedModel": by_torch, "didact EmaTeacher": by_didact}
    return [
        harness.Case(
            name="average of 9.9 million parameters",
            sides={
                name: harness.Side(prepare=partial(prepare, make, options.device), run=run)
                for name, make in sides.items()
            },
            bound="loop over parameters",
            check=check,
            units=UPDATES,
            targets={"didact EmaTeacher": 1 / 3},
        )
    ]


if __name__ == "__main__":
    sys.exit(harness.main("ema", harness.arguments(__doc__ or ""), cases))
