"""When maps of images are a reason to raise the alarm, by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.learners import AnomalyDetector, AnomalyScore, ModuleLearner
from didact.types import Batch


def maps(*peaks):
    found = torch.rand(len(peaks), 1, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.01
    found[:, 0, 1, 2] = torch.tensor(peaks)
    return found


def test_peaks_are_standardised_by_those_of_normal_images():
    alarm = AnomalyScore(3, normal=1, margin=2.0)
    seen = [(0.5, 0.1, 0.2), (0.3, 0.1, 0.9)]
    for peaks in seen:
        alarm.accumulate(maps(*peaks), torch.ones(3, dtype=torch.bool))
        alarm.update()
    # Where it begins there is one row of zero; every settling leaves 0.9 of the past.
    rows = np.log(np.array(seen[0] + seen[1]))
    weight = np.array([0.9, 0.9, 0.9, 1.0, 1.0, 1.0])
    total = weight.sum() + 0.81
    mean = (weight * rows).sum() / total
    spread = np.sqrt((weight * rows**2).sum() / total - mean**2)
    logits = alarm(maps(0.7, 0.05))
    for row, peak in zip(logits, (0.7, 0.05), strict=True):
        score = (np.log(peak) - mean) / spread - 2.0
        assert row.tolist() == pytest.approx([score, 0.0, score], rel=1e-4)


def test_defects_teach_nothing_of_what_is_normal():
    plain, mixed = AnomalyScore(2, normal=0, margin=3.0), AnomalyScore(2, normal=0, margin=3.0)
    plain.accumulate(maps(0.2, 0.2), torch.tensor([True, True]))
    mixed.accumulate(maps(0.2, 7.0), torch.tensor([True, False]))
    plain.update()
    mixed.update()
    torch.testing.assert_close(mixed.moments.mean, plain.moments.mean)
    torch.testing.assert_close(mixed.moments.spread, plain.moments.spread)


def test_a_detector_shows_its_map():
    class Squared(nn.Module):
        def forward(self, x):
            return x.square().mean(1, keepdim=True)

    alarm = AnomalyScore(2, normal=0, margin=3.0)
    x = torch.rand(4, 2, 5, 5)
    output = ModuleLearner(AnomalyDetector(Squared(), alarm), head=None, taps=("anomaly_map",))(Batch({"x": x}))
    expected = x.square().mean(1, keepdim=True)
    torch.testing.assert_close(output.features["anomaly_map"], expected)
    torch.testing.assert_close(output.logits, alarm(expected))
