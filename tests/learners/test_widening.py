"""Wide nets and their leading parts, against nets whose wiring is known."""

import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.learners import ModuleLearner, functional_forward, leading_weights, widen
from didact.types import Batch

IMAGES = Batch({"x": torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)), "id": torch.arange(3)})


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.GroupNorm(1, 2),
        nn.Conv2d(2, 4, 3, bias=False),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.LayerNorm(6),
        nn.Linear(6, 3),
    )


def test_every_layer_but_the_ends_gets_wider():
    wide = widen(ModuleLearner(convolutional()), IMAGES, 3).module
    assert tuple(wide[0].weight.shape) == (2,)
    assert tuple(wide[1].weight.shape) == (12, 2, 3, 3)
    assert (wide[2].num_groups, tuple(wide[2].weight.shape)) == (6, (12,))
    assert (wide[4].groups, tuple(wide[4].weight.shape)) == (12, (12, 1, 3, 3))
    assert tuple(wide[5].running_var.shape) == (12,)
    assert tuple(wide[7].weight.shape) == (18, 48)
    assert wide[8].normalized_shape == (18,)
    assert tuple(wide[9].weight.shape) == (3, 18)


def test_the_leading_part_is_the_narrow_net():
    narrow = ModuleLearner(convolutional()).eval()
    wide = widen(narrow, IMAGES, 2, seed=5)
    found = functional_forward(narrow, leading_weights(wide, narrow), IMAGES).logits
    torch.testing.assert_close(found, narrow(IMAGES).logits)
    found.sum().backward()
    slope = wide.module[7].weight.grad
    assert slope[:6, :16].abs().sum() > 0
    assert slope[6:].abs().sum() == 0
    assert slope[:, 16:].abs().sum() == 0


def test_with_the_new_weights_at_zero_the_wide_net_says_the_same():
    torch.manual_seed(0)
    narrow = ModuleLearner(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)))
    wide = widen(narrow, IMAGES, 2)
    with torch.no_grad():
        kept = {name: value.clone() for name, value in leading_weights(wide, narrow).items()}
        for parameter in wide.parameters():
            parameter.zero_()
        for name, value in leading_weights(wide, narrow).items():
            value.copy_(kept[name])
    torch.testing.assert_close(wide(IMAGES).logits, narrow(IMAGES).logits)


def test_tokens_are_widened():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, input_ids, attention_mask):
            return self.head(self.embedding(input_ids).mean(1))

    ids = torch.randint(0, 9, (3, 5))
    batch = Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids), "id": torch.arange(3)})
    wide = widen(ModuleLearner(Words()), batch, 2).module
    assert tuple(wide.embedding.weight.shape) == (9, 8)
    assert tuple(wide.head.weight.shape) == (2, 8)


def test_what_cannot_be_widened_is_refused():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.head = nn.Parameter(torch.ones(72)), nn.Linear(72, 2)

        def forward(self, x):
            return self.head(x.flatten(1) * self.scale)

    class Sides(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.head = nn.Linear(72, 4), nn.Linear(72, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.one(x.flatten(1)) + self.two(x.flatten(1)))

    with pytest.raises(ConfigError, match="Scaled, which cannot be widened"):
        widen(ModuleLearner(Scaled()), IMAGES, 2)
    with pytest.raises(ConfigError, match=r"cannot be widened: .*plain chain"):
        widen(ModuleLearner(Sides()), IMAGES, 2)
    with pytest.raises(ConfigError, match="expansion is 1"):
        widen(ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(72, 2))), IMAGES, 1)
