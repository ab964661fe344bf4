"""The mechanisms of `entity_masks`."""

import torch
from torch import Tensor

from didact.evaluation.pixelwise import mean_iou
from didact.mechanisms.checking import Found, mechanism
from didact.mechanisms.world import student
from didact.methods.semi_supervised.entity_masks import Config, EntityMasks
from didact.types import IGNORE, MASK, Batch, pixels_of

IMAGES, SIDE = 8, 12
SPOT, BAND = slice(0, 3), slice(10, 12)


def halves(seed: int) -> Batch:
    """Images of two things side by side; half of them are labelled.

    The first channel tells what a thing is, but for a spot that looks like the other. The second is a colour that all
    pixels of a thing share, and that tells nothing of what it is.
    """
    edge = torch.randint(4, SIDE - 3, (IMAGES, 1, 1), generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(SIDE) >= edge).expand(IMAGES, SIDE, SIDE).long()
    looks = 2.0 * mask - 1.0
    colour = 2.0 * looks * (1.0 - 2.0 * (torch.arange(IMAGES) % 2))[:, None, None]
    looks[:, SPOT] *= -1.0
    x = torch.stack([looks, colour], 1)
    ids = torch.arange(IMAGES)
    label = torch.where(ids < IMAGES // 2, 0, IGNORE)
    return Batch({"x": x, MASK: mask, "label": label, "id": ids, "row": ids})


def iou(batch: Batch, said: Tensor, rows: slice) -> float:
    """How well the pixels of some rows of the unlabelled images are told."""
    truth, said = (one.view(IMAGES, SIDE, SIDE)[IMAGES // 2 :, rows].flatten() for one in (batch[MASK], said.long()))
    return mean_iou((truth * 2 + said).bincount(minlength=4).view(2, 2))


@mechanism(
    world="Images of two things that a part of each tells wrongly, of which half are labelled.",
    effect="All pixels of a merged region vote, so that the masks of unlabelled images are nearly right.",
    control="Where nothing merges, each pixel votes for itself, and the part is told wrongly.",
    breaks=("shuffle merge_regions", "drop surroundings", "shuffle region_votes"),
)
def regions_vote_for_their_class(seed: int) -> Found:
    """The intersection over union of the first masks with the truth."""
    batch = halves(seed)

    def measured(merge: float) -> float:
        table = torch.zeros(IMAGES * SIDE**2, 2)
        method = EntityMasks(Config(merge=merge), student(table), batch, len(table))
        return iou(batch, method.targets(pixels_of(batch))[0], slice(None))

    return Found(effect=measured(0.3), predicted=(0.85, 1.0), control=measured(1.0), null=(0.0, 0.75))


@mechanism(
    world="The same, where the masks of a band are called by the other class, and an average knows better.",
    effect="Once it may correct them, the masks of the band are right.",
    control="Before that, they are wrong.",
    breaks=("drop fixed_gate", "drop pseudo_labels"),
)
def the_average_corrects_the_masks(seed: int) -> Found:
    """The intersection over union in the band."""
    batch = halves(seed)
    truth = batch[MASK].clone()
    truth[:, BAND] = 1 - truth[:, BAND]
    batch = Batch({**batch, MASK: truth})
    table = 4.0 * (2.0 * torch.nn.functional.one_hot(truth.flatten(), 2) - 1)
    method = EntityMasks(Config(merge=0.3), student(table), batch, len(table))

    def measured(fraction: float) -> float:
        method.fraction = fraction
        return iou(batch, method.targets(pixels_of(batch))[0], BAND)

    return Found(effect=measured(0.6), predicted=(0.999, 1.0), control=measured(0.4), null=(0.0, 0.3))
