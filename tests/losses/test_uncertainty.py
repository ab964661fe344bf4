"""Uncertainty at its ends and between."""

import numpy as np
import pytest
import torch

from didact.losses.classes.entropy import normalised_entropy


def test_uncertainty_is_relative_entropy():
    p = np.array([0.7, 0.2, 0.1])
    found = normalised_entropy(torch.tensor(np.stack([np.log(p) + 3.0, np.zeros(3), [200.0, 0.0, 0.0]])))
    assert found.numpy() == pytest.approx([-(p * np.log(p)).sum() / np.log(3), 1.0, 0.0], abs=1e-6)
