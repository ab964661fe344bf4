"""Methods for masks, against their authors' terms written out."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.methods.semi_supervised import region_aware
from didact.types import IGNORE, Batch

X = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 1] * 6 + [IGNORE] * 12)
BATCH = Batch({"x": X, "label": LABEL, "id": torch.arange(24)})


def students(count, seed=3):
    torch.manual_seed(seed)
    return [ModuleLearner(nn.Linear(2, 2)) for _ in range(count)]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sharp(p):
    return p**10 / (p**10).sum(-1, keepdims=True)


def of_one(mine, best, teacher, weight, leads):
    """`ModelData` of train_RAIL.py: half of the batch is labelled; both divergences over classes, no Dice."""
    p, log_p, label = softmax(mine), np.log(softmax(mine)), LABEL[:12].numpy()
    said, led = mine.argmax(1), best.argmax(1)
    diff = np.ones(12) if leads else (said[:12] != led[:12]).astype(float)
    err = (said[:12] != label).astype(float)
    surely = -log_p[np.arange(12), label]
    loss = surely.mean()
    loss += 0.5 * (diff * (p[:12, 1] - label) ** 2).sum() / (diff.sum() + 1e-16)
    loss += 0.05 * (diff * err * surely).sum() / ((diff * err).sum() + 1e-16)
    if not leads:
        other = (said[12:] != led[12:]).astype(float)
        loss += 2 * weight * ((p[12:] - sharp(softmax(best[12:]))) ** 2).mean()
        loss += 0.1 * 2 * weight * (other * -log_p[12:].mean(1)).sum() / (other.sum() + 1e-16)
    return loss + weight * ((p[12:] - sharp(softmax(teacher[12:]))) ** 2).mean()


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_region_aware_learning_is_the_authors(fraction):
    four = students(4)
    spare = iter(four[1:])
    method = region_aware.RegionAware(region_aware.Config(), four[0], lambda _spec: next(spare))
    method.fraction = fraction
    for number, average in enumerate(method.averages):
        nn.init.normal_(average.learner.module.weight, generator=torch.Generator().manual_seed(number))

    def wanted(kept=None):
        with torch.no_grad():
            said = [one(BATCH).logits.double().numpy() for one in four]
            taught = [average.learner(BATCH).logits.double().numpy() for average in method.averages]
        best = int(np.argmin([-np.log(softmax(z[:12]))[range(12), LABEL[:12]].mean() for z in said]))
        led = said[best] if kept is None else kept
        weight = 10 * np.exp(-5 * (1 - min(1, fraction * 8 / 3)) ** 2)
        return sum(of_one(said[n], led, taught[n // 2], weight, n == best) for n in range(4)), led

    loss, led = wanted()
    total = method.loss(BATCH).total()
    assert total.item() == pytest.approx(loss, rel=1e-5)
    total.backward()
    for one in four:
        weight = one.module.weight
        ends = []
        with torch.no_grad():
            for move in (1e-4, -2e-4):
                weight[0, 1] += move
                ends.append(wanted(led)[0])
            weight[0, 1] += 1e-4
        assert weight.grad[0, 1].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-2, abs=1e-3)


def test_the_averages_follow_the_first_students_of_their_groups():
    first, *rest = students(4)
    spare = iter(rest)
    method = region_aware.RegionAware(region_aware.Config(), first, lambda _spec: next(spare))
    for number, one in enumerate((first, *rest)):
        nn.init.constant_(one.module.weight, float(number))
    before = [average.learner.module.weight.clone() for average in method.averages]
    method.after_step()
    for number, average in enumerate(method.averages):
        torch.testing.assert_close(average.learner.module.weight, 0.1 * before[number] + 0.9 * 2.0 * number)
    assert method.delivered is method.averages[0].learner
