"""The mechanisms of `error_recovery`."""

import torch
from torch import Tensor

from didact.evaluation.pixelwise import mean_iou
from didact.learners.maps import flatten_map, unflatten_map
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import student, train
from didact.methods.semi_supervised.error_recovery import Config, ErrorRecovery
from didact.types import IGNORE, MASK, Batch, pixels_of

IMAGES, SIDE, STEPS = 12, 8, 15


def squares(seed: int) -> Batch:
    """Masks of squares; those of the second half are not shown."""
    chance = torch.Generator().manual_seed(seed)
    mask = torch.zeros(IMAGES, SIDE, SIDE, dtype=torch.int64)
    for image, (down, right) in enumerate(torch.randint(1, SIDE - 4, (IMAGES, 2), generator=chance).tolist()):
        mask[image, down : down + 4, right : right + 4] = 1
    ids = torch.arange(IMAGES)
    x = torch.zeros(IMAGES, 1, SIDE, SIDE)
    label = torch.where(ids < IMAGES // 2, 0, IGNORE)
    return Batch({"x": x, "weak.x": x, "strong.x": x, MASK: mask, "label": label, "id": ids, "row": ids})


def built(answers: Tensor, sample: Batch, config: Config) -> ErrorRecovery:
    """A method whose student gives these answers, int64 [B * H * W]."""
    table = 2.0 * (2.0 * torch.nn.functional.one_hot(answers, 2) - 1)
    return ErrorRecovery(config, student(table), sample)


@mechanism(
    world="Masks, and a student whose masks lie one pixel too far to the right.",
    effect="The corrector learns that from labels, and moves the masks of unlabelled images back.",
    control="Taught by the masks of other images, it has nothing to learn.",
    breaks=("drop label_loss", "flip label_loss"),
)
def the_corrector_repairs_what_the_student_gets_wrong(seed: int) -> Found:
    """The intersection over union of the repaired masks of unlabelled images with the truth."""
    batch, half = squares(seed), IMAGES // 2
    truth = batch[MASK]

    def measured(shown: Tensor) -> float:
        method = built(truth.roll(1, 2).flatten(), batch, Config(width=8))
        train(method, pixels_of(Batch({**batch, MASK: shown})), "repair", steps=STEPS, rate=0.1)
        with torch.no_grad():
            maps = unflatten_map(method.learner(pixels_of(batch)).logits.softmax(-1), batch["x"])
            said = flatten_map(method.corrector(maps)).argmax(-1).view_as(truth)
        pair = (truth * 2 + said)[half:].flatten()
        return mean_iou(pair.bincount(minlength=4).view(2, 2))

    shuffled = torch.cat([truth[:half].roll(1, 0), truth[half:]])
    return Found(effect=measured(truth), predicted=(0.9, 1.0), control=measured(shuffled), null=(0.0, 0.7))


@mechanism(
    world="A teacher whose maps stay the same over two frames.",
    effect="A student that flickers by 1 pays for its difference between frames, squared: 4.",
    control="One that is 1 higher in both frames pays nothing for that.",
    breaks=("drop feature_mse", "flip feature_mse"),
)
def flicker_is_told_from_an_offset(seed: int) -> Found:
    """The loss of the differences between frames."""
    batch = squares(seed)

    def measured(second: float) -> float:
        method = built(batch[MASK].flatten(), batch, Config(frames=2, ramp_up=0.0, weight=1.0))
        offset = torch.ones(IMAGES, SIDE, SIDE, 1)
        offset[:, SIDE // 2 :] = second
        # Half of it for one class and half against the other, so that both move by 1 about their mean.
        moved = (offset * torch.tensor([-1.0, 1.0])).flatten(0, 2)
        table = next(iter(method.learner.parameters()))
        table.data += moved
        with torch.no_grad():
            return float(method.loss(pixels_of(batch))["teacher_change"].mean())

    return Found(effect=measured(-1.0), predicted=near(4.0), control=measured(1.0), null=near(0.0))
