"""Masks of merged regions, and what becomes of them, against loops over pixels."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.learners.maps import PixelNet
from didact.losses.labels.masks import merge_regions, region_votes, surroundings
from didact.methods.semi_supervised.entity_masks import Config, EntityMasks
from didact.types import IGNORE, MASK, Batch, pixels_of

SIDE = (5, 6)


def neighbours(height, width):
    for r in range(height):
        for c in range(width):
            if r + 1 < height:
                yield (r, c), (r + 1, c)
            if c + 1 < width:
                yield (r, c), (r, c + 1)


def cosine(one, other):
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def merged(features, least, *, rounds):
    """The regions of an image [D, H, W] as sets of pixels: with rounds, all that choose each other; else one pair."""
    _, height, width = features.shape
    regions = {frozenset([(r, c)]) for r in range(height) for c in range(width)}
    while True:
        home = {pixel: region for region in regions for pixel in region}
        mean = {region: np.mean([features[:, r, c] for r, c in region], 0) for region in regions}
        pairs = {frozenset([home[a], home[b]]) for a, b in neighbours(height, width) if home[a] != home[b]}
        alike = {pair: cosine(*(mean[region] for region in pair)) for pair in pairs}
        good = {pair: value for pair, value in alike.items() if value >= least}
        if not good:
            return regions
        best = (
            {
                region: max((value, pair) for pair, value in good.items() if region in pair)[1]
                for region in {one for pair in good for one in pair}
            }
            if rounds
            else {}
        )
        chosen = (
            {pair for pair in good if all(best[region] == pair for region in pair)}
            if rounds
            else {max(good, key=good.get)}
        )
        for pair in chosen:
            regions = (regions - pair) | {frozenset().union(*pair)}


def numbered(regions, height, width):
    first = {pixel: min(r * width + c for r, c in region) for region in regions for pixel in region}
    return np.array([[first[r, c] for c in range(width)] for r in range(height)])


@pytest.mark.parametrize("least", [-1.0, 0.0, 0.7, 1.0])
def test_regions_merge_as_in_a_loop_over_pairs(least):
    features = torch.randn(3, 4, *SIDE, generator=torch.Generator().manual_seed(1))
    found = merge_regions(features, least).view(3, *SIDE).numpy()
    for number, image in enumerate(features.double().numpy()):
        wanted = numbered(merged(image, least, rounds=True), *SIDE)
        np.testing.assert_array_equal(found[number] - number * SIDE[0] * SIDE[1], wanted)
    if least == -1.0:
        assert len(np.unique(found)) == 3


def test_regions_that_are_there_are_those_of_single_merges():
    """One pair at a time, the most similar first."""
    truth = np.array(
        [[0, 0, 1, 1, 1, 2], [0, 0, 1, 1, 2, 2], [0, 3, 3, 3, 2, 2], [4, 4, 3, 3, 2, 2], [4, 4, 4, 3, 3, 3]]
    )
    centres = np.random.default_rng(0).normal(size=(5, 8))
    image = centres[truth].transpose(2, 0, 1) + np.random.default_rng(1).normal(scale=0.1, size=(8, *SIDE))
    wanted = numbered(merged(image, 0.8, rounds=False), *SIDE)
    assert len(np.unique(wanted)) == 5
    np.testing.assert_array_equal(merge_regions(torch.from_numpy(image)[None], 0.8).view(SIDE).numpy(), wanted)


def around(x):
    """`surroundings` of one image [H, W], pixel by pixel."""
    height, width = x.shape
    plain = np.zeros((3, height, width))
    for r in range(height):
        for c in range(width):
            down, right = min(r, height - 2), min(c, width - 2)
            plain[:, r, c] = x[r, c], abs(x[down + 1, c] - x[down, c]), abs(x[r, right + 1] - x[r, right])
    found = np.zeros_like(plain)
    for r in range(height):
        for c in range(width):
            near = plain[:, max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]
            found[:, r, c] = near.reshape(3, -1).mean(1)
    return found - found.mean((1, 2), keepdims=True)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


CHANCE = torch.Generator().manual_seed(0)
X = torch.rand(4, 1, *SIDE, generator=CHANCE)
BATCH = Batch({
    "x": X, MASK: torch.randint(0, 2, (4, *SIDE), generator=CHANCE),
    "label": torch.tensor([0, IGNORE, 0, IGNORE]), "id": torch.arange(4), "row": torch.tensor([2, 0, 3, 1]),
})  # fmt: skip


def first_masks():
    """For each image, the class whose mean features among the labels are nearest to a region's."""
    features = np.stack([around(image) for image in X[:, 0].double().numpy()])
    truth = BATCH[MASK].numpy()
    means = [
        np.mean([features[i, :, r, c] for i in (0, 2) for r in range(5) for c in range(6) if truth[i, r, c] == k], 0)
        for k in (0, 1)
    ]
    found = np.zeros((4, *SIDE), dtype=int)
    for number in range(4):
        for region in merged(features[number], 0.5, rounds=True):
            votes = np.mean(
                [[-np.sum((features[number, :, r, c] - mean) ** 2) for mean in means] for r, c in region], 0
            )
            for pixel in region:
                found[number][pixel] = votes.argmax()
    return found


@pytest.mark.parametrize("fraction", [0.2, 0.8])
def test_masks_come_from_clusters_and_then_from_the_teacher(fraction):
    torch.manual_seed(0)
    net = nn.Conv2d(1, 2, 1)
    method = EntityMasks(
        Config(merge=0.5, threshold=0.6, weight=0.7), ModuleLearner(PixelNet(net), head=None), pixels_of(BATCH), 120
    )
    teacher = method.teacher.learner.module.module
    nn.init.normal_(teacher.weight, std=2.0)
    method.fraction = fraction
    target = first_masks()
    with torch.no_grad():
        sure = softmax(teacher(X).movedim(1, -1).double().numpy())
    corrected = (sure.max(-1) >= 0.6) & (fraction >= 0.5)
    assert (corrected & (sure.argmax(-1) != target)).any() == (fraction >= 0.5)
    target = np.where(corrected, sure.argmax(-1), target)
    known = BATCH["label"].numpy() == 0

    def wanted():
        weight, bias = net.weight.detach().double().numpy()[:, 0, 0, 0], net.bias.detach().double().numpy()
        total = 0.0
        for images, x, label in ((known, X, BATCH[MASK].numpy()), (~known, X, target)):
            z = x[:, 0].double().numpy()[images][..., None] * weight + bias
            surely = -np.log(np.take_along_axis(softmax(z), label[images][..., None], -1))
            total += surely.mean() * (1.0 if images is known else 0.7)
        return total

    terms = method.loss(pixels_of(BATCH))
    assert terms.total().item() == pytest.approx(wanted(), rel=1e-5)
    assert terms["corrected"].sum.item() == corrected[~known].sum()
    terms.total().backward()
    ends = []
    with torch.no_grad():
        for move in (1e-3, -2e-3):
            net.weight[0] += move
            ends.append(wanted())
        net.weight[0] += 1e-3
    assert net.weight.grad[0].item() == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-3)


def test_votes_are_those_of_all_pixels_of_a_region():
    region = torch.tensor([7, 3, 7, 7, 3])
    scores = torch.tensor([[0.9, 0.1], [0.4, 0.5], [0.2, 0.5], [0.2, 0.6], [0.5, 0.0]])
    assert region_votes(region, scores).tolist() == [0, 0, 0, 0, 0]
    assert region_votes(region, scores.flip(1)).tolist() == [1, 1, 1, 1, 1]
    assert region_votes(torch.arange(5), scores).tolist() == [0, 1, 1, 1, 0]


def test_surroundings_are_those_of_single_pixels():
    np.testing.assert_allclose(surroundings(X)[1].double(), around(X[1, 0].double().numpy()), rtol=1e-4, atol=1e-5)
