"""Pixels learned as shapes, background or not at all, against the authors' loops."""

import numpy as np
import pytest
import torch

from didact.learners.patches import rearrange_pixels, swapped_places
from didact.losses.labels.gates import class_thresholds
from didact.methods.semi_supervised import dense_learning
from didact.types import Batch
from small_maps import KNOWN, LABEL, PIXELS, VIEWS, B, C, H, W, check_slope, net, said, softmax


def test_dense_learning_is_the_authors():
    """Thresholds of `adathres`, three kinds as in `semicoco.py`, and parts that change places together."""
    learner = net(1, scale=8.0)
    method = dense_learning.DenseLearning(dense_learning.Config(threshold=0.5, background=0.42), learner, PIXELS)
    torch.manual_seed(5)
    places = swapped_places(B, (H, W), 0.5).numpy()
    assert (places != np.arange(H * W)).any(1).sum() not in (0, B)

    def wanted(thresholds):
        probs = softmax(said(method.teacher.learner, "weak"))
        mixed = torch.where((LABEL == 0)[:, None, None, None], VIEWS["weak.x"], VIEWS["strong.x"]).flatten(2).numpy()
        moved = np.stack([mixed[n][:, places[n]] for n in range(B)]).reshape(B, 2, H, W)
        with torch.no_grad():
            mine = softmax(learner(Batch({"x": torch.from_numpy(moved)})).logits.double().numpy())
        loss, kinds, counts, sums = [0.0, 0.0], [0, 0, 0], np.zeros(C), np.zeros(C)
        for n in range(B):
            for place in range(H * W):
                at = n * H * W + places[n, place]
                p = -np.log(mine[n * H * W + place])
                if KNOWN[at]:
                    loss[0] += p[PIXELS["label"][at]] / KNOWN.sum()
                    continue
                likeliest = 1 + probs[at, 1:].argmax()
                score = probs[at, likeliest]
                if score >= thresholds[likeliest]:
                    loss[1] += 3 * p[likeliest] / (~KNOWN).sum()
                    counts[likeliest] += 1
                    sums[likeliest] += score
                    kinds[0] += 1
                elif score < 0.42:
                    loss[1] += 3 * p[0] / (~KNOWN).sum()
                    kinds[1] += 1
                else:
                    kinds[2] += 1
        return sum(loss), kinds, counts, sums

    loss, kinds, counts, sums = wanted(np.full(C, 0.5))
    assert min(kinds) > 0
    torch.manual_seed(5)
    terms = method.loss(PIXELS)
    assert terms.total().item() == pytest.approx(loss, rel=1e-5)
    assert terms["admitted"].mean().item() == pytest.approx((kinds[0] + kinds[1]) / (~KNOWN).sum())
    average = counts.sum() / (counts > 0).sum()
    found = [max(min((sums[c] / average) ** 0.05 * 0.5, 0.55), 0.5) if counts[c] else 0.5 for c in range(C)]
    np.testing.assert_allclose(method.thresholds.numpy(), found, rtol=1e-5)
    first = method.scores.weight.clone()

    def total():
        torch.manual_seed(5)
        method.scores.weight.zero_()
        method.scores.mean.fill_(0.5)
        return method.loss(PIXELS).total()

    check_slope(learner, total, lambda: wanted(np.full(C, 0.5))[0])
    torch.testing.assert_close(method.scores.weight, first)


def test_a_frequent_class_needs_more():
    found = class_thresholds(torch.tensor([0.0, 90.0, 9.0]), torch.tensor([0.0, 100.0, 10.0]), 0.3, 0.35)
    np.testing.assert_allclose(found, [0.3, 0.3 * (90 / 55) ** 0.05, 0.3], rtol=1e-6)


def test_two_parts_of_an_image_change_places():
    """As `PatchShuffle`: concatenation of the second part and the first, along one axis, in some images."""
    torch.manual_seed(0)
    x = torch.arange(40.0 * 2 * H * W).view(40, 2, H, W)
    places = swapped_places(40, (H, W), 0.5)
    found, kinds = rearrange_pixels(x, places), []
    for before, after in zip(x.numpy(), found.numpy(), strict=True):
        down = [np.concatenate([before[:, c:], before[:, :c]], 1) for c in range(H)]
        right = [np.concatenate([before[:, :, c:], before[:, :, :c]], 2) for c in range(W)]
        (kind,) = {
            name if cut else "whole"
            for name, parts in (("down", down), ("right", right))
            for cut, one in enumerate(parts)
            if (one == after).all()
        }
        kinds.append(kind)
    assert set(kinds) == {"whole", "down", "right"} and 15 < kinds.count("whole") < 32
    label = torch.arange(40 * H * W)
    torch.testing.assert_close(
        rearrange_pixels(label, places).view(40, 1, H, W), rearrange_pixels(label.view(40, 1, H, W), places)
    )
