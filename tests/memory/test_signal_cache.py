import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import CheckpointError, DataError
from didact.memory import SignalCache
from didact.types import Features, Labels, Logits, TopK


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_it_behaves_as_a_dictionary(data):
    known = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=0, max_size=12))
    cache, slow = SignalCache(torch.tensor(known, dtype=torch.int64)), {}
    pool = st.sampled_from([*known, 5, -7]) if known else st.sampled_from([5, -7])
    for step in range(4):
        asked = data.draw(st.lists(pool, min_size=1, max_size=6))
        ids = torch.tensor(asked)
        hit, signal = cache.get(ids)
        assert hit.tolist() == [i in slow for i in asked]
        if signal is not None:
            expected = torch.stack([slow.get(i, torch.zeros(3)) for i in asked])
            assert torch.equal(signal.logits, expected)
        unique = ids.unique()
        logits = torch.arange(3.0) + unique.remainder(97).float()[:, None] + step
        cache.put(unique, Logits(logits=logits))
        slow.update({i: row for i, row in zip(unique.tolist(), logits, strict=True) if i in known})
    assert cache.occupancy == len(slow)
    assert len(cache) == len(set(known))


SIGNALS = {
    "logits": lambda n: Logits(logits=torch.randn(n, 4), trust=torch.rand(n)),
    "hard labels": lambda n: Labels(labels=torch.randint(9, (n,))),
    "soft labels": lambda n: Labels(labels=torch.rand(n, 4).softmax(1)),
    "features": lambda n: Features(
        features={"a": torch.randn(n, 2), "b.c": torch.randn(n, 3, 2)}, logits=torch.rand(n, 2)
    ),
    "top k": lambda n: TopK(ids=torch.randint(9, (n, 3)), log_probs=torch.rand(n, 3), tail=torch.rand(n)),
    "features alone": lambda n: Features(features={"a": torch.randn(n, 2).half()}),
}


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one is other if one is None or other is None else one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("kind", SIGNALS)
def test_every_kind_comes_back_as_it_was_put(kind):
    ids, signal = torch.tensor([30, 10, 20]), SIGNALS[kind](3)
    cache = SignalCache(torch.tensor([10, 20, 30, 40]))
    assert cache.get(ids)[1] is None
    cache.put(ids, signal)
    restored = SignalCache(torch.tensor([40, 30, 20, 10]))
    restored.load_state_dict(cache.state_dict())
    for each in (cache, restored):
        hit, back = each.get(ids)
        assert hit.all()
        assert type(back) is type(signal)
        assert all(same(getattr(signal, f), getattr(back, f)) for f in signal.__slots__)
        assert each.get(torch.tensor([40, 50]))[0].tolist() == [False, False]


def test_signals_of_other_examples_are_not_resumed():
    cache = SignalCache(torch.tensor([10, 20]))
    cache.put(torch.tensor([10]), Logits(logits=torch.ones(1, 2)))
    with pytest.raises(CheckpointError, match="of other examples"):
        SignalCache(torch.tensor([10, 30])).load_state_dict(cache.state_dict())


def test_what_is_put_carries_no_gradient():
    cache = SignalCache(torch.tensor([1]))
    cache.put(torch.tensor([1]), Logits(logits=torch.ones(1, 2, requires_grad=True)))
    _, signal = cache.get(torch.tensor([1]))
    assert isinstance(signal, Logits)
    assert not signal.logits.requires_grad


def test_inference_tensors_can_be_cached_and_read_in_training():
    cache = SignalCache(torch.tensor([1, 2]))
    with torch.inference_mode():
        cache.put(torch.tensor([1]), Logits(logits=torch.ones(1, 2)))
    cache.put(torch.tensor([2]), Logits(logits=torch.zeros(1, 2)))
    _, signal = cache.get(torch.tensor([1, 2]))
    assert isinstance(signal, Logits)
    weight = torch.ones(2, requires_grad=True)
    (signal.logits * weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "other",
    [
        Logits(logits=torch.zeros(1, 3)),
        Logits(logits=torch.zeros(1, 2), trust=torch.ones(1)),
        Logits(logits=torch.zeros(1, 2).double()),
        Labels(labels=torch.zeros(1, 2)),
    ],
)
def test_signals_unlike_the_first_are_refused(other):
    cache = SignalCache(torch.tensor([1, 2]))
    cache.put(torch.tensor([1]), Logits(logits=torch.zeros(1, 2)))
    with pytest.raises(DataError, match="cache"):
        cache.put(torch.tensor([2]), other)
    assert cache.occupancy == 1
