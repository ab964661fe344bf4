"""The discrepancy of maps, the loss over stages and the anomaly map, against slow transcriptions."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.features.pyramid import anomaly_map, map_discrepancy, pyramid_matching

SHAPES = ((3, 4, 4), (5, 2, 2))


def maps(seed, examples=4):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(examples, *shape)) for shape in SHAPES]


def tensors(arrays):
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def slow_discrepancy(mine, theirs):
    found = np.zeros((len(mine), *mine.shape[2:]))
    for b, i, j in np.ndindex(found.shape):
        s, t = mine[b, :, i, j], theirs[b, :, i, j]
        found[b, i, j] = 0.5 * np.sum((s / np.linalg.norm(s) - t / np.linalg.norm(t)) ** 2)
    return found


def slow_upsample(image, size):
    """Bilinear, pixels as squares with their value at the centre, edges continued."""
    height, width = image.shape
    found = np.zeros((size, size))
    for i, j in np.ndindex(found.shape):
        y = np.clip((i + 0.5) * height / size - 0.5, 0, height - 1)
        x = np.clip((j + 0.5) * width / size - 0.5, 0, width - 1)
        top, left = int(y), int(x)
        down, right = min(top + 1, height - 1), min(left + 1, width - 1)
        a, b = y - top, x - left
        upper = (1 - b) * image[top, left] + b * image[top, right]
        lower = (1 - b) * image[down, left] + b * image[down, right]
        found[i, j] = (1 - a) * upper + a * lower
    return found


def test_the_discrepancy_at_each_position():
    for mine, theirs in zip(maps(0), maps(1), strict=True):
        found = map_discrepancy(*tensors((mine, theirs))).numpy()
        assert found == pytest.approx(slow_discrepancy(mine, theirs), rel=1e-4, abs=1e-6)


def test_only_directions_count():
    (mine, _), (theirs, _) = tensors(maps(0)), tensors(maps(1))
    once = map_discrepancy(mine, theirs)
    torch.testing.assert_close(map_discrepancy(3 * mine, 0.2 * theirs), once)
    assert map_discrepancy(mine, 7 * mine).max() < 1e-6
    torch.testing.assert_close(map_discrepancy(mine, -mine), torch.full((4, 4, 4), 2.0))


def test_the_loss_adds_up_stages_and_weighs_examples():
    mine, theirs, trust = maps(2), maps(3), np.array([1.0, 0.0, 0.5, 1.0])
    stages = [slow_discrepancy(s, t) for s, t in zip(mine, theirs, strict=True)]
    fast = [map_discrepancy(s, t) for s, t in zip(tensors(mine), tensors(theirs), strict=True)]
    each = sum(stage.mean((1, 2)) for stage in stages)
    whole, weighed = pyramid_matching(fast), pyramid_matching(fast, trust=torch.tensor(trust))
    assert (whole.sum.item(), whole.count) == (pytest.approx(each.sum(), rel=1e-4), 4)
    assert weighed.sum.item() == pytest.approx((each * trust).sum(), rel=1e-4)
    assert float(weighed.count) == pytest.approx(2.5)


def test_no_gradient_flows_into_the_teacher():
    mine, theirs = (one[0].requires_grad_() for one in (tensors(maps(4)), tensors(maps(5))))
    pyramid_matching([map_discrepancy(mine, theirs)]).sum.backward()
    assert theirs.grad is None
    assert mine.grad is not None
    # The loss does not depend on lengths, so that its gradient is at right angles to the features.
    torch.testing.assert_close((mine.grad * mine).sum(1), torch.zeros(4, 4, 4), atol=1e-5, rtol=0)


def test_the_map_is_the_product_of_the_upsampled_stages():
    stages = [slow_discrepancy(s, t) for s, t in zip(maps(6), maps(7), strict=True)]
    found = anomaly_map(tensors(stages), (8, 8)).numpy()
    assert found.shape == (4, 1, 8, 8)
    for b in range(4):
        expected = slow_upsample(stages[0][b], 8) * slow_upsample(stages[1][b], 8)
        assert found[b, 0] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_other_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"\[2, 3, 4, 4\].*\[2, 5, 4, 4\].*same shape"):
        map_discrepancy(torch.ones(2, 3, 4, 4), torch.ones(2, 5, 4, 4))
