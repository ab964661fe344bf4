"""The cache in front of a teacher asks once, and only about what is missing."""

import pytest
import torch

from didact.errors import ConfigError
from didact.memory import SignalCache
from didact.teachers import BaseTeacher, CachedTeacher, EmaTeacher, PeerTeacher, RandomTeacher
from didact.types import Batch, Cost, Features, Labels, Logits


class Counting(BaseTeacher):
    """Answers x, and remembers which ids it was asked about."""

    def __init__(self, kind="logits", view=None):
        super().__init__(view=view)
        self.asked, self.answer = [], kind

    def signal(self, batch):
        self.asked.append(batch["id"].tolist())
        self.count(batch)
        x = batch["x"]
        if self.answer == "labels":
            return Labels(labels=x[:, 0].long(), trust=x[:, 1])
        if self.answer == "features":
            return Features(features={"deep": x * 2}, logits=x)
        return Logits(logits=x)


def batch(ids):
    ids = torch.tensor(ids)
    x = torch.stack([ids.float(), ids.float() / 10], 1)
    return Batch({"x": x, "teacher.x": x + 1, "id": ids})


def flat(signal):
    features = signal.features.values() if isinstance(signal, Features) else ()
    return [getattr(signal, "logits", None), getattr(signal, "labels", None), signal.trust, *features]


@pytest.mark.parametrize("kind", ["logits", "labels", "features"])
def test_only_missing_examples_are_asked_about(kind):
    inner = Counting(kind)
    teacher = CachedTeacher(inner, SignalCache(torch.arange(10)))
    for ids in ([3, 1], [1, 2, 3], [2, 1], [5, 3, 5]):
        for got, wanted in zip(flat(teacher.signal(batch(ids))), flat(Counting(kind).signal(batch(ids))), strict=True):
            assert (got is None and wanted is None) or torch.equal(got, wanted)
    assert inner.asked == [[3, 1], [2], [5, 5]]
    assert teacher.hits == 2 + 2 + 1
    assert teacher.cost == Cost(teacher_calls=5)


@pytest.mark.parametrize("kind", ["logits", "labels", "features"])
def test_ids_that_the_cache_will_not_keep_are_answered_all_the_same(kind):
    inner = Counting(kind)
    teacher = CachedTeacher(inner, SignalCache(torch.tensor([1, 2])))
    for ids in ([9, 8], [1, 9, 2], [8, 2, 9]):
        for got, wanted in zip(flat(teacher.signal(batch(ids))), flat(Counting(kind).signal(batch(ids))), strict=True):
            assert (got is None and wanted is None) or torch.equal(got, wanted)
    assert inner.asked == [[9, 8], [1, 9, 2], [8, 9]]


def test_when_all_is_cached_there_is_one_lookup():
    class Spied(SignalCache):
        lookups = 0

        def get(self, ids):
            self.lookups += 1
            return super().get(ids)

    cache = Spied(torch.arange(4))
    teacher = CachedTeacher(Counting(), cache)
    teacher.signal(batch([0, 1, 2, 3]))
    cache.lookups = 0
    teacher.signal(batch([2, 0]))
    assert cache.lookups == 1


def test_the_view_is_handed_on():
    teacher = CachedTeacher(Counting(), SignalCache(torch.arange(4)), view="teacher")
    assert torch.equal(teacher.signal(batch([1, 2])).logits, batch([1, 2])["teacher.x"])


def test_answers_are_fit_for_a_loss():
    teacher = CachedTeacher(Counting(), SignalCache(torch.arange(4)))
    for _ in range(2):
        student = torch.ones(2, 2, requires_grad=True)
        (student * teacher.signal(batch([1, 2])).logits).sum().backward()
        assert torch.equal(student.grad, batch([1, 2])["x"])


def test_state_is_that_of_the_parts():
    one = CachedTeacher(Counting(), SignalCache(torch.arange(4)))
    one.signal(batch([0, 1]))
    one.signal(batch([1]))
    inner = Counting()
    other = CachedTeacher(inner, SignalCache(torch.arange(4)))
    other.load_state_dict(one.state_dict())
    assert other.hits == 1
    assert torch.equal(other.signal(batch([1, 0])).logits, batch([1, 0])["x"])
    assert inner.asked == []


def test_what_changes_is_not_cached():
    cache = SignalCache(torch.arange(4))
    with pytest.raises(ConfigError, match="view is 'strong', which is augmented"):
        CachedTeacher(Counting(view="strong"), cache)
    with pytest.raises(ConfigError, match="view is 'noised'"):
        CachedTeacher(Counting(), cache, view="noised", augmented=["noised"])
    learner = torch.nn.Linear(1, 2)
    with pytest.raises(ConfigError, match="teacher is a EmaTeacher, which changes"):
        CachedTeacher(EmaTeacher(learner, decay=0.9), cache)
    with pytest.raises(ConfigError, match="PeerTeacher"):
        CachedTeacher(PeerTeacher(learner), cache)
    assert CachedTeacher(RandomTeacher(2), cache).to("cpu").candidates() == []
