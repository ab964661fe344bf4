"""A teacher for each range of areas, against the authors' choice written out."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.methods.distillation import area_specialists
from didact.types import IGNORE, MASK, Batch, pixels_of
from small_maps import IMAGES, B, H, W, check_slope, net, said, softmax


def test_area_specialists_are_the_authors():
    learner, others = net(1), [net(number) for number in (2, 3, 4)]
    spare = iter(others)
    method = area_specialists.AreaSpecialists(
        area_specialists.Config(bounds=(0.2, 0.6), weight=0.3), learner, lambda _spec: next(spare)
    )
    labels = torch.zeros(B, H, W, dtype=torch.int64)
    for number, count in enumerate((3, 6, 17, 18)):
        labels[number].view(-1)[:count] = 1 + number % 2
    labels[3].view(-1)[-10:] = IGNORE
    shown = pixels_of(Batch({**IMAGES, MASK: labels, "label": torch.zeros(B, dtype=torch.int64)}))
    flat, each = labels.flatten().numpy(), H * W
    taught = []
    for image in labels.flatten(1).numpy():
        ratio = (image > 0).sum() / (image != IGNORE).sum()
        taught.append(0 if ratio < 0.2 else 1 if ratio < 0.6 else 2)
    assert taught == [0, 1, 1, 2]
    there = flat != IGNORE

    def surely(one, where):
        return -np.log(softmax(said(one, ""))[where, flat[where]]).mean()

    def wanted():
        mine = said(learner, "")
        apart = [((mine - said(others[k], ""))[n * each : (n + 1) * each] ** 2).mean() for n, k in enumerate(taught)]
        return surely(learner, there) + 0.3 * np.mean(apart)

    early = method.loss(shown)
    assert early["label"].mean().item() == pytest.approx(surely(learner, there), rel=1e-5)
    for k, one in enumerate(others):
        mine = there & (np.repeat(taught, each) == k)
        assert early[f"specialist_{k}"].mean().item() == pytest.approx(surely(one, mine), rel=1e-5)
        assert float(early[f"specialist_{k}"].count) == float(method.counts(shown)[f"specialist_{k}"]) == mine.sum()
    method.fraction = 0.5
    assert method.loss(shown).total().item() == pytest.approx(wanted(), rel=1e-5)
    check_slope(learner, lambda: method.loss(shown).total(), wanted)
    assert all(weight.grad is None for one in others for weight in one.parameters())
    with pytest.raises(ConfigError, match="must rise"):
        area_specialists.Config(bounds=(0.5, 0.2))
