import math

import pytest
import torch

from didact.losses.policy.surrogate import nft_loss


def test_it_is_what_the_paper_writes():
    log_ratio = torch.tensor([0.3, 0.3, -0.4, 0.9], dtype=torch.float64, requires_grad=True)
    right = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    accuracy = torch.tensor([0.25, 0.25, 0.5, 0.75], dtype=torch.float64)
    floor = 0.8
    loss = nft_loss(log_ratio, right, accuracy, floor=floor)
    wanted, slopes = [], []
    for d, good, r in zip(log_ratio.tolist(), right.tolist(), accuracy.tolist(), strict=True):
        ratio = math.exp(d)
        negative = (1 - r * ratio) / (1 - r)
        wanted.append(-d if good else -math.log(max(negative, floor)))
        slopes.append(-1.0 if good else r * ratio / (1 - r) / max(negative, floor))
    assert loss.tolist() == pytest.approx(wanted)
    loss.sum().backward()
    assert log_ratio.grad is not None
    assert log_ratio.grad.tolist() == pytest.approx(slopes)


@pytest.mark.parametrize("right", [1, 2, 3])
def test_on_policy_its_gradient_is_that_of_comparing_within_a_group(right):
    """With the weight (1 - r) / r it is the gradient of GRPO's advantages before scaling, over r."""
    size = 4
    r = right / size
    good = torch.tensor([1.0] * right + [0.0] * (size - right), dtype=torch.float64)
    log_ratio = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    (nft_loss(log_ratio, good, torch.full((size,), r, dtype=torch.float64)).sum() * (1 - r)).backward()
    assert log_ratio.grad is not None
    assert torch.allclose(log_ratio.grad, -(good - r))
