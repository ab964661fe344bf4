"""The mechanism of `area_specialists`."""

import torch

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.distillation.area_specialists import AreaSpecialists, Config
from didact.types import MASK, Batch, pixels_of

SIDE = 4
AREAS = (1, 4, 12)
"""Pixels of a shape in three images of 16, one in each range."""
SAID = (1.0, 5.0, 9.0)
"""What each specialist answers everywhere."""


class Constant(torch.nn.Module):
    """Answers the same for each pixel."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 1, H, W] to [B * H * W, 2]."""
        return self.value.expand(x.numel(), 2)


@mechanism(
    world="Three images with shapes of different areas, and three specialists that each say another number everywhere.",
    effect="The student is drawn, on each image, to the number of the specialist of its own area.",
    control="With one range for all, it is drawn to the same number everywhere.",
    breaks=("flip feature_mse", "drop feature_mse"),
)
def each_image_follows_the_specialist_of_its_area(seed: int) -> Found:
    """How far the pull on the image of the largest area is above that of the smallest."""
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    sizes = torch.tensor(AREAS)[order]
    mask = (torch.arange(SIDE**2) < sizes[:, None]).long().view(3, SIDE, SIDE)
    ids = torch.arange(3)
    batch = pixels_of(
        Batch({"x": mask[:, None].float(), MASK: mask, "label": torch.zeros_like(ids), "id": ids, "row": ids})
    )

    def measured(bounds: tuple[float, ...]) -> float:
        class Shown(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.answers = torch.nn.Parameter(torch.zeros(3 * SIDE**2, 2))

            def forward(self, _x: torch.Tensor) -> torch.Tensor:
                return self.answers

        spare = iter(ModuleLearner(Constant(value)) for value in SAID)
        method = AreaSpecialists(Config(bounds=bounds, weight=1.0), ModuleLearner(Shown()), lambda _spec: next(spare))
        method.fraction = 0.9
        term = method.loss(batch)["teacher"]
        (slope,) = torch.autograd.grad(term.sum, [method.learner.module.answers])
        pull = -slope.view(3, -1).mean(1)
        return float(pull[sizes.argmax()] - pull[sizes.argmin()])

    return Found(effect=measured((0.1, 0.5)), predicted=near(SAID[2] - SAID[0]), control=measured(()), null=near(0.0))
