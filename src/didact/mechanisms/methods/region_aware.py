"""The mechanism of `region_aware`."""

import torch

from didact.evaluation.pixelwise import mean_iou
from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism
from didact.mechanisms.world import Rows
from didact.methods.semi_supervised.region_aware import Config, RegionAware
from didact.types import IGNORE, MASK, Batch, pixels_of

IMAGES, SIDE, STEPS = 12, 6, 12
BAND = slice(2, 4)


def scenes(seed: int) -> Batch:
    """Masks of random squares; those of the second half of the images are not shown."""
    chance = torch.Generator().manual_seed(seed)
    mask = torch.rand(IMAGES, SIDE, SIDE, generator=chance).gt(0.5).long()
    label = torch.where(torch.arange(IMAGES) < IMAGES // 2, 0, IGNORE)
    ids = torch.arange(IMAGES)
    return Batch({MASK: mask, "label": label, "id": ids, "row": ids, "hidden": ids})


def table(answers: torch.Tensor) -> ModuleLearner:
    """A student that is sure of an answer for each pixel, int64 [IMAGES, SIDE, SIDE]."""
    return ModuleLearner(Rows(4.0 * (2.0 * torch.nn.functional.one_hot(answers, 2) - 1).flatten(0, 2)), inputs=("row",))


@mechanism(
    world="Masks, and students that are wrong in a band of each image; one of them is right everywhere.",
    effect="The others are corrected in the band: the intersection over union there rises to 1, without labels too.",
    control="A best student that answers with the masks of other images leaves the band of unlabelled images wrong.",
    breaks=("flip probability_mse", "drop probability_mse"),
)
def the_band_is_corrected_by_the_best_student(seed: int) -> Found:
    """The intersection over union of the first student in the band of the unlabelled images, after some steps."""
    batch, half = scenes(seed), IMAGES // 2
    truth = batch[MASK]
    wrong = truth.clone()
    wrong[:, BAND] = 1 - wrong[:, BAND]
    shuffled = truth.clone()
    shuffled[half:] = truth[half:].roll(1, 0)

    def measured(best: torch.Tensor) -> float:
        others = iter([table(wrong), table(best), table(wrong)])
        config = Config(average=0.0, ramp_up=0.0, agreement=200.0, damping=0.0)
        method = RegionAware(config, table(wrong), lambda _spec: next(others))
        optimizer = torch.optim.Adam(method.learner.parameters(), lr=1.0)
        for _ in range(STEPS):
            optimizer.zero_grad()
            method.loss(pixels_of(batch)).total().backward()
            optimizer.step()
        with torch.no_grad():
            said = method.learner(pixels_of(batch)).logits.argmax(-1).view(IMAGES, SIDE, SIDE)
        pair = truth[half:, BAND].flatten() * 2 + said[half:, BAND].flatten()
        return mean_iou(pair.bincount(minlength=4).view(2, 2))

    return Found(effect=measured(truth), predicted=(0.97, 1.0), control=measured(shuffled), null=(0.0, 0.6))
