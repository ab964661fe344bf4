"""Layers that two nets share: which ones they are, that they stay shared, and what is refused."""

import copy

import pytest
import torch

from didact.errors import ConfigError
from didact.learners import share_layers
from didact.parts.models import build
from didact.types import Examples

IMAGES = Examples(
    tensors={"x": torch.rand(6, 1, 8, 8), "label": torch.arange(6) % 3, "id": torch.arange(6)},
    task="classification",
    modality="image",
    classes=("a", "b", "c"),
)


def pair(shallow, deep):
    nets = build(shallow, IMAGES, seed=0), build(deep, IMAGES, seed=1)
    share_layers(*nets)
    return nets


@pytest.mark.parametrize(
    ("shallow", "deep"),
    [("transformer:1x8", "transformer:3x8"), ("mlp:6", "mlp:6,5"), ("cnn:4", "cnn:4,6")],
)
def test_all_layers_but_the_head_are_shared(shallow, deep):
    first, second = pair(shallow, deep)
    head = {id(p) for p in first.head.parameters()}
    mine, theirs = dict(first.module.named_parameters()), dict(second.module.named_parameters())
    for name, parameter in mine.items():
        assert (theirs.get(name) is parameter) == (id(parameter) not in head)
    assert {id(p) for p in second.head.parameters()}.isdisjoint(map(id, first.parameters()))
    assert second(IMAGES.batch()).logits.shape == (6, 3)


def test_what_one_learns_the_other_knows():
    first, second = pair("mlp:6", "mlp:6,5")
    second(IMAGES.batch()).logits.square().sum().backward()
    x = first.module[1](first.module[0](IMAGES.tensors["x"]))
    layers = [second.module[i] for i in (2, 4, 6)]
    slow = x
    for layer in layers[:2]:
        slow = (slow @ layer.weight.T + layer.bias).relu()
    slow = slow @ layers[2].weight.T + layers[2].bias
    (wanted,) = torch.autograd.grad(slow.square().sum(), [layers[0].weight])
    torch.testing.assert_close(first.module[2].weight.grad, wanted)
    both = copy.deepcopy([first, second])
    assert both[0].module[2].weight is both[1].module[2].weight


@pytest.mark.parametrize(
    ("shallow", "deep", "message"),
    [
        ("mlp:6", "mlp:7,5", r"'2.weight' should be the shallower one's, \[6, 64\], but is \[7, 64\]"),
        ("transformer:2x8", "transformer:1x8", "but is none"),
        ("mlp:6", "mlp:6", "no layer beyond"),
    ],
)
def test_nets_that_do_not_begin_alike_are_refused(shallow, deep, message):
    with pytest.raises(ConfigError, match=message):
        pair(shallow, deep)
