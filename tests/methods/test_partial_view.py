"""What is seen in part, against the authors' cross-entropy written out."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.learners.masking import field_of_view
from didact.methods.semi_supervised import partial_view
from didact.types import IGNORE, Batch
from small_maps import softmax


def test_partial_view_is_the_authors():
    """`cross_entropy` of model/loss.py: similarities over 0.2 for the student, and over 0.09 for the teacher."""
    torch.manual_seed(3)
    learner = ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(2 * 6, 4)))
    x, label = torch.rand(7, 2, 1, 6), torch.tensor([0, 3, IGNORE, 1, IGNORE, 2, IGNORE])
    method = partial_view.PartialView(partial_view.Config(temperature=0.45, weight=0.6), learner)
    nn.init.normal_(method.teacher.learner.module[1].weight)
    method.fraction = 0.5
    batch = Batch({"x": x, "label": label, "id": torch.arange(7)})
    torch.manual_seed(9)
    seen = field_of_view(x, 0.5, 0.667)

    def wanted():
        with torch.no_grad():
            whole, part = learner.module(x).double().numpy(), learner.module(x * seen).double().numpy()
            target = method.teacher.learner.module(x).double().numpy()
        known = (label != IGNORE).numpy()
        loss = -np.log(softmax(whole)[known, label[known]]).mean()
        return loss - 0.6 * (softmax(0.2 * target / 0.09) * np.log(softmax(0.2 * part / 0.2))).sum() / 7

    def total():
        torch.manual_seed(9)
        return method.loss(batch).total()

    assert total().item() == pytest.approx(wanted(), rel=1e-5)
    total().backward()
    weight, ends = learner.module[1].weight, []
    with torch.no_grad():
        for move in (1e-3, -2e-3):
            weight[2, 5] += move
            ends.append(wanted())
        weight[2, 5] += 1e-3
    assert weight.grad[2, 5].item() == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-2, abs=1e-4)


def test_a_field_of_view_is_one_part_around():
    torch.manual_seed(0)
    seen = field_of_view(torch.zeros(300, 2, 1, 12), 0.25, 0.75)[:, 0, 0]
    edges = (seen != seen.roll(1, 1)).sum(1)
    assert (edges == 2).all()
    assert seen.sum(1).min() == 3 and seen.sum(1).max() == 9
    assert seen.float().mean(0).std() < 0.06
    assert field_of_view(torch.zeros(3, 12), 1.0, 1.0).all()
