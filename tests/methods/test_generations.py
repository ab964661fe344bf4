"""Generations of students, against the authors' choice of masks and their loss written out."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.errors import ConfigError, DataError
from didact.learners import ModuleLearner
from didact.learners.maps import PixelNet
from didact.losses.labels.masks import best_share, moving_foreground
from didact.methods.semi_supervised.generations import Config, Generations
from didact.types import IGNORE, MASK, Batch, pixels_of

CHANCE = torch.Generator().manual_seed(0)
FRAMES, SIDE, WIDTH = 4, 3, 5
X = torch.rand(6, 2, FRAMES * SIDE, WIDTH, generator=CHANCE)
KNOWN = torch.tensor([0, IGNORE, IGNORE, IGNORE, IGNORE, 0])
BATCH = Batch({
    "x": X, MASK: torch.randint(0, 2, (6, FRAMES * SIDE, WIDTH), generator=CHANCE),
    "label": KNOWN, "id": torch.arange(6), "row": torch.arange(6),
})  # fmt: skip


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def moved(image, contrast):
    """How surely each pixel of a clip [C, T * H, W] moves, pixel by pixel."""
    clip = image.reshape(2, FRAMES, SIDE, WIDTH)
    background = np.sort(clip, 1)[:, 1]  # of four numbers, the lower one in the middle
    apart = np.abs(clip - background[:, None]).mean(0)
    found = np.zeros((FRAMES, SIDE, WIDTH))
    for t in range(FRAMES):
        for r in range(SIDE):
            for c in range(WIDTH):
                near = apart[t, max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].mean()
                found[t, r, c] = min(max((near - contrast / 2) / (contrast / 2), 0.0), 1.0)
    return found.reshape(-1, WIDTH)


def group(config, seed=0):
    torch.manual_seed(seed)
    nets = [nn.Conv2d(2, 2, 1) for _ in range(config.students)]
    first, *others = (ModuleLearner(PixelNet(net), head=None) for net in nets)
    spare = iter(others)
    return Generations(config, first, lambda _spec: next(spare), pixels_of(BATCH)), nets


def scores(net, x):
    weight, bias = net.weight.detach().double().numpy()[..., 0, 0], net.bias.detach().double().numpy()
    return np.einsum("nchw,kc->nhwk", x.double().numpy(), weight) + bias


def wanted(nets, masks, chosen, weight):
    total = 0.0
    for net in nets:
        p = softmax(scores(net, X))
        label = BATCH[MASK].numpy()[[0, 5]]
        total += -np.log(np.take_along_axis(p[[0, 5]], label[..., None], -1)).mean()
        total += weight * np.mean([(p[i, ..., 1] - masks[i]) ** 2 for i in chosen])
    return total


@pytest.mark.parametrize("generation", [0, 1])
def test_a_group_learns_the_best_masks_of_its_teacher(generation):
    """At first the mean of a mask's non-zero pixels tells how good it is, then how much the students agree."""
    config = Config(first="algorithm", students=2, frames=FRAMES, contrast=0.3, kept=0.5, weight=3.0)
    method, nets = group(config)
    for net in nets:
        nn.init.normal_(net.weight, std=2.0)
    if generation == 0:
        masks = [moved(image, 0.3) for image in X.double().numpy()]
        good = [mask[mask > 0].mean() for mask in masks]
    else:
        method.fraction = 0.4
        method.after_step()
        said = [softmax(scores(net, X)) for net in nets]
        masks = list(np.mean(said, 0)[..., 1])
        first, second = (one.argmax(-1) for one in said)
        good = [(a & b).sum() / (a | b).sum() for a, b in zip(first, second, strict=True)]
        for net in nets:  # the teacher stays what it was
            nn.init.normal_(net.weight, std=1.0)
    chosen = sorted(range(1, 5), key=lambda i: -good[i])[:2]
    terms = method.loss(pixels_of(BATCH))
    assert terms.total().item() == pytest.approx(wanted(nets, masks, chosen, 3.0), rel=1e-5)
    assert float(terms["admitted"].count) == 6
    terms.total().backward()
    for net in nets:
        ends = []
        with torch.no_grad():
            for move in (1e-3, -2e-3):
                net.weight[0, 1] += move
                ends.append(wanted(nets, masks, chosen, 3.0))
            net.weight[0, 1] += 1e-3
        assert net.weight.grad[0, 1].item() == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-3)


def test_the_labels_alone_come_first():
    method, nets = group(Config(students=2))
    terms = method.loss(pixels_of(BATCH))
    assert terms["mask_0"].sum.item() == terms["mask_1"].sum.item() == 0.0
    assert terms["label_1"].mean().item() == pytest.approx(
        -np.log(
            np.take_along_axis(softmax(scores(nets[1], X))[[0, 5]], BATCH[MASK].numpy()[[0, 5], ..., None], -1)
        ).mean()
    )
    generations = []
    for step in range(6):
        method.fraction = step / 6
        method.after_step()
        generations.append(method.generation.value)
    assert generations == [0, 0, 1, 1, 2, 2]


def test_the_best_share_is_rounded_up_and_takes_nothing_that_is_worth_nothing():
    found = best_share(torch.tensor([0.9, 0.2, 0.5, 0.0, 0.7]), torch.tensor([False, True, True, True, True]), 0.3)
    assert found.tolist() == [0.0, 0.0, 1.0, 0.0, 1.0]
    assert best_share(torch.zeros(3), torch.ones(3, dtype=torch.bool), 1.0).tolist() == [0.0] * 3
    assert best_share(torch.ones(3), torch.zeros(3, dtype=torch.bool), 1.0).tolist() == [0.0] * 3


def test_what_no_algorithm_can_teach_is_refused():
    with pytest.raises(ConfigError, match="frames"):
        Config(first="algorithm", frames=2)
    with pytest.raises(DataError, match="12 rows, which are not 5 frames of equal height"):
        moving_foreground(X, 5, 0.3)
    with pytest.raises(ConfigError, match="tells 2 classes of pixels, not 3"):
        learner = ModuleLearner(PixelNet(nn.Conv2d(2, 3, 1)), head=None)
        Generations(Config(first="algorithm", frames=4, students=1), learner, lambda _spec: learner, pixels_of(BATCH))
