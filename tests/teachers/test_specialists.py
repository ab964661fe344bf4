"""Groups of classes, and what stands inside a teacher."""

import pytest
import torch

from didact.errors import ConfigError
from didact.memory import SignalCache
from didact.teachers import CachedTeacher, ClassGroups, Committee, RandomTeacher, committee_members, unwrap
from didact.types import IGNORE


def test_groups_are_read_and_made():
    assert list(ClassGroups.even(10, 3)) == [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)]
    assert list(ClassGroups.even(3, 3)) == [(0, 1, 2)]
    assert str(ClassGroups.parse("0, 3/2,1", 4)) == "0,3/2,1"


def test_labels_are_counted_within_each_group():
    groups = ClassGroups([[0, 3], [2, 1]], 4)
    found = groups.within(torch.tensor([0, 1, 2, 3, IGNORE]))
    assert found.tolist() == [[0, IGNORE, IGNORE, 1, IGNORE], [IGNORE, 1, 0, IGNORE, IGNORE]]


@pytest.mark.parametrize("words", ["0,1", "0,1/1,2,3", "0,1/2,3,4", "a/b", "0,1,2/3"])
def test_groups_that_part_nothing_are_refused(words):
    with pytest.raises(ConfigError, match="groups is"):
        ClassGroups.parse(words, 4)


def test_members_are_found_behind_a_cache():
    one, two = RandomTeacher(2), RandomTeacher(2)
    committee = Committee([one, two])
    cached = CachedTeacher(committee, SignalCache(torch.arange(3)))
    assert committee_members(cached) == (one, two)
    assert committee_members(one) == (one,)
    assert unwrap(cached) is committee
