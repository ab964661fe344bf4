"""Help where a policy's own attempts fail, against loops."""

import torch

from didact.losses.policy.groups import failed_groups


def test_a_group_failed_where_nobody_was_right():
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(0, 9, (60,), generator=generator) * 7
    correct = (torch.rand(60, generator=generator) < 0.15).float()
    pairs = list(zip(group.tolist(), correct.tolist(), strict=True))
    expected = [not any(right for other, right in pairs if other == mine) for mine, _ in pairs]
    assert 0 < sum(expected) < len(expected)
    assert failed_groups(correct, group).tolist() == expected
