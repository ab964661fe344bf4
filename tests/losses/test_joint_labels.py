"""Labels of class and turn at once, against loops over examples."""

import numpy as np
import pytest
import torch

from didact.losses.labels.joint import joint_class_log_probs, joint_labels
from didact.types import IGNORE


def test_joint_labels_number_class_and_turn():
    found = joint_labels(torch.tensor([2, IGNORE, 0]), 4).view(4, 3)
    for turn in range(4):
        assert found[turn].tolist() == [2 * 4 + turn, IGNORE, turn]


def test_classes_are_read_from_all_turns_together():
    turns, size, classes = 4, 3, 5
    logits = np.random.default_rng(0).normal(size=(turns * size, classes * turns))
    found = joint_class_log_probs(torch.from_numpy(logits), turns, temperature=2.0).numpy()
    for b in range(size):
        scores = [np.mean([logits[k * size + b, c * turns + k] for k in range(turns)]) / 2.0 for c in range(classes)]
        assert found[b] == pytest.approx(scores - np.log(np.exp(scores).sum()), abs=1e-5)
