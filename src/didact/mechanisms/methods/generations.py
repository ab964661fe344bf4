"""The mechanisms of `generations`."""

import torch
from torch import Tensor, nn

from didact.evaluation.pixelwise import mean_iou
from didact.mechanisms.checking import Found, mechanism
from didact.mechanisms.world import student
from didact.methods.semi_supervised.generations import Config, Generations
from didact.types import IGNORE, MASK, Batch, pixels_of

CLIPS, FRAMES, SIDE, WIDTH = 12, 4, 8, 32


def clips(seed: int) -> tuple[Batch, Tensor]:
    """Squares that jump in every other clip; in the rest they lie still, and something else flickers a little."""
    chance = torch.Generator().manual_seed(seed)
    mask = torch.zeros(CLIPS, FRAMES, SIDE, WIDTH)
    x = torch.zeros(CLIPS, FRAMES, SIDE, WIDTH)
    moves = torch.arange(CLIPS) % 2 == 0
    for clip, down in enumerate(torch.randint(0, SIDE - 5, (CLIPS,), generator=chance).tolist()):
        for frame in range(FRAMES):
            left = 8 * frame if moves[clip] else 2
            mask[clip, frame, down : down + 5, left : left + 5] = 1.0
        if not moves[clip]:
            x[clip, clip % FRAMES, :, 16:] = 0.25
    x = (x + mask).view(CLIPS, 1, -1, WIDTH)
    ids = torch.arange(CLIPS)
    known = torch.full_like(ids, IGNORE)
    mask = mask.view(CLIPS, -1, WIDTH).long()
    return Batch({"x": x, MASK: mask, "label": known, "id": ids, "row": ids}), moves


def built(config: Config, tables: list[Tensor], sample: Batch) -> Generations:
    """A method whose students are tables."""
    first, *others = (student(table) for table in tables)
    spare = iter(others)
    return Generations(config, first, lambda _spec: next(spare), sample)


@mechanism(
    world="Clips in which a square moves, and as many in which it lies still and something else flickers a little.",
    effect="Background subtraction finds what moves, and its strongest masks are those: all that are learned show it.",
    control="Where all masks are learned, half of them show the flicker.",
    breaks=("drop moving_foreground", "shuffle nonzero_means", "flip nonzero_means"),
)
def the_best_masks_of_an_algorithm_are_chosen(seed: int) -> Found:
    """The share of clips that move among those whose mask is learned."""
    batch, moves = clips(seed)

    def measured(kept: float) -> float:
        config = Config(first="algorithm", frames=FRAMES, contrast=0.3, kept=kept, students=1)
        method = built(config, [torch.zeros(batch[MASK].numel(), 2)], batch)
        probs, gate = method.lesson(pixels_of(batch))
        right = (probs[:, 1] > 0.5).view(CLIPS, -1) == (batch[MASK] == 1).view(CLIPS, -1)
        found = right.float().mean(1) > 0.85
        return float((gate * moves * found).sum() / gate.sum().clamp(min=1))

    return Found(effect=measured(0.5), predicted=(0.999, 1.001), control=measured(1.0), null=(0.3, 0.7))


@mechanism(
    world="Three students of masks, each wrong in another third of the pixels.",
    effect="Together they are the next teacher, which is right everywhere.",
    control="Students that are wrong in the same third make a teacher that is wrong there.",
    breaks=("skip Generations.after_step",),
)
def a_group_knows_more_than_each_student(seed: int) -> Found:
    """The intersection over union of the next teacher's masks with the truth."""
    batch, _ = clips(seed)
    truth = batch[MASK].flatten()
    third = torch.randint(0, 3, truth.shape, generator=torch.Generator().manual_seed(seed))

    def measured(wrong: tuple[int, int, int]) -> float:
        tables = [torch.zeros(len(truth), 2)] * 3
        method = built(Config(generations=2, students=3), tables, batch)
        for one, place in zip((method.learner, *method.others), wrong, strict=True):
            said = torch.where(third == place, 1 - truth, truth)
            next(one.parameters()).data = 2.0 * nn.functional.one_hot(said, 2)
        method.fraction = 0.5
        method.after_step()
        said = method.teach(pixels_of(batch))[0].argmax(-1)
        return mean_iou((truth * 2 + said).bincount(minlength=4).view(2, 2))

    return Found(effect=measured((0, 1, 2)), predicted=(0.999, 1.0), control=measured((0, 0, 0)), null=(0.0, 0.7))
