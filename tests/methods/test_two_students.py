"""Methods for wrong labels that train two students, against transcriptions of their authors' code."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.masking import nested_mask
from didact.methods.noisy_labels import co_teaching
from didact.types import Batch

CLASSES, SIZE = 4, 12


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learner(seed=1):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Linear(3, CLASSES))


def batch(rows, seed=0):
    rows = torch.tensor(rows)
    labels = torch.randint(CLASSES, (SIZE,), generator=torch.Generator().manual_seed(seed))
    return Batch({"x": normal(SIZE, 3)[rows] * 3, "label": labels[rows], "row": rows, "id": rows + 100})


def authors_exchange(first, second, labels, forget_rate):
    """`loss_coteaching` of loss.py in bhanML/Co-teaching, without its second division by the number of examples."""
    losses = [nn.functional.cross_entropy(logits, labels, reduction="none") for logits in (first, second)]
    count = int((1 - forget_rate) * len(labels))
    kept = [np.argsort(loss.detach().numpy(), kind="stable")[:count] for loss in losses]
    exchanged = zip((first, second), reversed(kept), strict=True)
    return [nn.functional.cross_entropy(logits[index], labels[index]) for logits, index in exchanged]


@pytest.mark.parametrize(("fraction", "rate"), [(0.0, 0.0), (0.05, 0.25), (0.1, 0.5), (0.7, 0.5)])
def test_co_teaching_and_its_gradients_are_those_of_the_authors(fraction, rate):
    config = co_teaching.Config(forget_rate=0.5, ramp_up=0.1)
    method = co_teaching.CoTeaching(config, learner(), lambda _spec: learner(2), batch([0, 1]), SIZE)
    method.fraction = fraction
    shown = batch([0, 1, 2, 3, 4, 5, 6, 7])
    terms = method.loss(shown)
    doubles = [
        [p.detach().double().requires_grad_() for p in net.parameters()] for net in (method.learner, method.peer)
    ]
    logits = [shown["x"].double() @ weight.T + bias for weight, bias in doubles]
    expected = authors_exchange(*logits, shown["label"], rate)
    for i, (net, own) in enumerate(zip((method.learner, method.peer), doubles, strict=True)):
        mean = terms[f"label_{i}"].mean()
        assert mean.item() == pytest.approx(expected[i].item(), rel=1e-5)
        mine = torch.autograd.grad(mean, list(net.parameters()))
        for found, there in zip(mine, torch.autograd.grad(expected[i], own), strict=True):
            np.testing.assert_allclose(found.numpy(), there.numpy(), rtol=1e-4, atol=1e-6)


def test_nested_dropout_keeps_as_many_features_as_the_authors_draw():
    """`GaussianDist(0, std, N)` of train.py in yingyichen-cyy/Nested-Co-teaching."""
    torch.manual_seed(0)
    draws, width, spread = 4000, 8, 0.5
    masks = torch.stack([nested_mask(width, spread) for _ in range(draws)])
    assert ((masks[:, :-1] >= masks[:, 1:]).all()) and bool((masks[:, 0] == 1).all())
    chances = np.array([np.exp(-((i / (spread * width)) ** 2)) for i in range(1, width + 1)])
    found = np.bincount(masks.sum(1).long().numpy(), minlength=width + 1)[1:] / draws
    np.testing.assert_allclose(found, chances / chances.sum(), atol=0.03)


def test_heads_see_masked_features_and_a_net_without_a_head_is_refused(monkeypatch):
    monkeypatch.setattr(co_teaching, "nested_mask", lambda width, spread, device: (torch.arange(width) < 2).float())
    config = co_teaching.Config(nested_dropout=0.3, forget_rate=0.0)
    method = co_teaching.CoTeaching(config, learner(), lambda _spec: learner(2), batch([0, 1]), SIZE)
    shown = batch([0, 1, 2, 3])
    head, masked = method.learner.head, shown["x"] * torch.tensor([1.0, 1.0, 0.0])
    expected = nn.functional.cross_entropy(masked @ head.weight.T + head.bias, shown["label"])
    assert method.loss(shown)["label_0"].mean().item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ConfigError, match="needs students with a linear head"):
        co_teaching.CoTeaching(
            config, ModuleLearner(nn.Linear(3, 4), head=None), lambda _: learner(2), batch([0]), SIZE
        )
