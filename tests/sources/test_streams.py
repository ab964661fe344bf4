"""Tasks one after the other: whose examples they have."""

import pytest
import torch

from didact import sources, worlds
from didact.errors import ConfigError, DataError
from didact.types import IGNORE


def test_a_stream_is_cut_by_its_tasks():
    stream = worlds.load("digits:stream")
    tasks = sources.split_tasks(stream)
    assert [sorted(set(task.tensors["label"].tolist())) for task in tasks] == [[2 * t, 2 * t + 1] for t in range(5)]
    assert sum(task.size for task in tasks) == stream.size
    assert all(task.classes == stream.classes for task in tasks)


def test_classes_are_taken_in_turn():
    label = torch.tensor([4, 0, IGNORE, 1, 2, 3, 0])
    examples = sources.from_tensors(torch.arange(14.0).view(7, 2), torch.arange(7) % 5).with_tensors(label=label)
    tasks = sources.split_tasks(examples, classes=2)
    assert [task.tensors["label"].tolist() for task in tasks] == [[0, 1, 0], [2, 3], [4]]
    assert tasks[0].tensors["x"].tolist() == [[2.0, 3.0], [6.0, 7.0], [12.0, 13.0]]


def test_what_makes_no_stream_is_refused():
    plain = sources.from_tensors(torch.arange(12.0).view(6, 2), torch.arange(6) % 2)
    with pytest.raises(DataError, match="have no tensor task_id"):
        sources.split_tasks(plain)
    with pytest.raises(DataError, match="All 6 examples belong to one task"):
        sources.split_tasks(plain, classes=2)
    with pytest.raises(ConfigError, match="classes is 0"):
        sources.split_tasks(plain, classes=0)
    numbers = sources.from_tensors(torch.arange(12.0).view(6, 2), torch.arange(6) * 0.5, task="regression")
    with pytest.raises(ConfigError, match="classes is 2, but a regression has none"):
        sources.split_tasks(numbers, classes=2)
