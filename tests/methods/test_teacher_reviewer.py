"""A second, slower average, against its two consistencies written out."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.methods.semi_supervised import teacher_reviewer
from didact.types import Batch
from small_maps import KNOWN, LABEL, PIXELS, VIEWS, check_slope, net, said, softmax


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_teacher_and_reviewer_are_two_consistencies(fraction):
    learner = net(1)
    method = teacher_reviewer.TeacherReviewer(teacher_reviewer.Config(weight=7.0, review=0.5), learner)
    method.fraction = fraction
    for number, one in enumerate((method.teacher, method.reviewer)):
        nn.init.normal_(one.learner.module.module[2].weight, generator=torch.Generator().manual_seed(number))

    def wanted():
        images = torch.where((LABEL == 0)[:, None, None, None], VIEWS["weak.x"], VIEWS["strong.x"])
        with torch.no_grad():
            mine = softmax(learner(Batch({"x": images})).logits.double().numpy())
        loss = -np.log(mine[KNOWN, PIXELS["label"][KNOWN]]).mean()
        rise = 7.0 * np.exp(-5 * (1 - min(1, fraction / 0.27)) ** 2)
        for share, one in ((1.0, method.teacher), (0.5, method.reviewer)):
            loss += share * rise * ((mine - softmax(said(one.learner, "weak"))) ** 2).mean()
        return loss

    assert method.loss(PIXELS).total().item() == pytest.approx(wanted(), rel=1e-5)
    check_slope(learner, lambda: method.loss(PIXELS).total(), wanted)
