"""The algebra of signals, against slow transcriptions in NumPy, over classes [B] and tokens [B, T]."""

import math

import numpy as np
import pytest
import torch

from didact.errors import ConfigError, TeacherError
from didact.types import IGNORE, Derived, Features, Head, Labels, Logits, States, TopK, algebra, scores
from didact.types.algebra import add_noise, demote, from_tensors, keep_top, mix, to_tensors

V = 7
SHAPES = {"classes": (5,), "tokens": (3, 4)}
KINDS = ("logits", "labels", "top_k", "states", "derived")


def drawn(shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) * 2.0


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def signal(kind, z, trust=None):
    """The distribution softmax(z), held in one way or another."""
    if kind == "logits":
        return Logits(logits=z, trust=trust)
    if kind == "labels":
        return Labels(labels=z.softmax(-1), trust=trust)
    if kind == "top_k":
        ids = z.argsort(-1, descending=True)
        return TopK(ids=ids, log_probs=z.log_softmax(-1).gather(-1, ids), tail=torch.zeros(z.shape[:-1]), trust=trust)
    if kind == "states":
        return States(hidden=z, head=Head(torch.eye(V, dtype=z.dtype)), trust=trust)
    return Derived(function=lambda parts: parts[0], parts=(Logits(logits=z),), trust=trust)


def probs(signal, outcomes=V):
    return signal.log_softmax(outcomes=outcomes).exp().double().numpy()


@pytest.fixture(params=SHAPES)
def shape(request):
    return SHAPES[request.param]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_signal_tells_the_same_distribution(kind, shape):
    z = drawn(shape)
    told = signal(kind, z)
    assert tuple(told.shape) == shape
    np.testing.assert_allclose(probs(told), softmax(z.numpy()), rtol=1e-6)
    softened = told.log_softmax(3.0, outcomes=V).exp()
    np.testing.assert_allclose(softened, softmax(z.numpy() / 3.0), rtol=1e-6)
    assert told.outcomes in (V, None)
    assert told.effective_trust is None


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_picked_with_their_trust(kind):
    z, trust = drawn((3, 4)), torch.rand(3, 4, generator=torch.Generator().manual_seed(1))
    flat = signal(kind, z, trust).flatten()
    assert tuple(flat.shape) == (12,)
    for index in (torch.tensor([7, 0, 7]), slice(2, 5)):
        picked = flat.rows(index)
        np.testing.assert_allclose(probs(picked), softmax(z.view(12, V)[index].numpy()), rtol=1e-6)
        assert torch.equal(picked.trust, trust.view(12)[index])
    assert flat.flatten() is flat


@pytest.mark.parametrize("space", ["probability", "logit"])
@pytest.mark.parametrize(
    "kinds", [("logits", "labels"), ("states", "logits"), ("states", "top_k"), ("derived", "top_k")]
)
def test_a_mixture_is_the_weighted_mean(kinds, space, shape):
    parts = [drawn(shape, seed) for seed in range(2)]
    mixed = mix([signal(kind, z) for kind, z in zip(kinds, parts, strict=True)], [1.0, 3.0], space=space)
    assert isinstance(mixed, Logits) == (set(kinds) == {"logits", "labels"})
    p, q = (softmax(z.numpy()) for z in parts)
    expected = 0.25 * p + 0.75 * q
    if space == "logit":
        expected = np.exp(0.25 * np.log(p) + 0.75 * np.log(q))
        expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(probs(mixed), expected, rtol=1e-5)
    np.testing.assert_allclose(probs(mixed.flatten().rows(slice(1, 3))), expected.reshape(-1, V)[1:3], rtol=1e-5)


@pytest.mark.parametrize("kind", ["logits", "states"])
def test_a_mixture_by_confidence_weighs_by_what_is_left_of_the_entropy(kind, shape):
    parts = [drawn(shape, seed).numpy() for seed in range(3)]
    found = mix([signal(kind, torch.from_numpy(z)) for z in parts], [1.0, 2.0, 1.0], by_confidence=True)
    p = [softmax(z) for z in parts]
    sure = [1 + (q * np.log(q)).sum(-1) / math.log(V) + 1e-6 for q in p]
    weights = [w * s for w, s in zip((1.0, 2.0, 1.0), sure, strict=True)]
    expected = sum(w[..., None] * q for w, q in zip(weights, p, strict=True)) / sum(weights)[..., None]
    np.testing.assert_allclose(probs(found), expected, rtol=1e-5)


def test_who_abstains_has_no_say(shape):
    p, q = (softmax(drawn(shape, seed).numpy()) for seed in range(2))
    trust = torch.zeros(shape)
    trust[0] = 0.5
    mixed = mix([signal("logits", drawn(shape, 0)), signal("labels", drawn(shape, 1), trust)], [1.0, 1.0])
    np.testing.assert_allclose(probs(mixed)[0], (p[0] + 0.5 * q[0]) / 1.5, rtol=1e-5)
    np.testing.assert_allclose(probs(mixed)[1:], p[1:], rtol=1e-5)
    np.testing.assert_allclose(mixed.trust[0], 0.75)
    np.testing.assert_allclose(mixed.trust[1:], 1.0)
    silent = mix([signal("labels", drawn(shape, s), torch.zeros(shape)) for s in range(2)], [1.0, 3.0])
    np.testing.assert_allclose(probs(silent), 0.25 * p + 0.75 * q, rtol=1e-5)
    assert not silent.trust.any()


def test_weights_may_differ_from_row_to_row():
    parts = [drawn((2, 3), seed) for seed in range(2)]
    weights = torch.rand(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    mixed = mix([signal("states", z) for z in parts], weights)
    share = (weights / weights.sum(-1, keepdim=True)).numpy()
    expected = sum(share[..., m, None] * softmax(z.numpy()) for m, z in enumerate(parts))
    np.testing.assert_allclose(probs(mixed), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_exchanges_the_best_and_another(kind, shape):
    z = drawn(shape)
    generator = torch.Generator().manual_seed(2)
    where, draw = torch.rand(shape, generator=generator) < 0.6, torch.rand(shape, generator=generator)
    noised = add_noise(signal(kind, z), where, draw)
    expected = softmax(z.numpy())
    for row in np.ndindex(shape):
        if where[row]:
            p = expected[row]
            best = p.argmax() if kind != "top_k" else 0
            other = (best + 1 + int(draw[row] * (V - 1))) % V
            if kind == "top_k":
                best, other = (z[row].argsort(descending=True)[place] for place in (best, other))
            p[best], p[other] = p[other], p[best]
    np.testing.assert_allclose(probs(noised), expected, rtol=1e-5)


@pytest.mark.parametrize("strength", [0.4, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_best_gives_its_probability_to_the_second(kind, strength, shape):
    z = drawn(shape)
    expected = softmax(z.numpy())
    for row in np.ndindex(shape):
        second, best = expected[row].argsort()[-2:]
        moved = strength * expected[row][best]
        expected[row][best] -= moved
        expected[row][second] += moved
    np.testing.assert_allclose(probs(demote(signal(kind, z), strength)), expected, rtol=1e-5, atol=1e-30)


def test_of_several_second_best_the_next_is_raised():
    found = demote(Labels(labels=torch.tensor([2, 0, IGNORE])))
    np.testing.assert_allclose(probs(found, 3)[:2], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], atol=1e-40)
    assert found.trust.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_likeliest_are_kept_with_the_rest_as_tail(kind, shape, monkeypatch):
    monkeypatch.setattr(algebra, "CHUNK", 3 * V)
    z, trust = drawn(shape), torch.rand(shape)
    kept = keep_top(signal(kind, z, trust), 3)
    p = softmax(z.numpy())
    order = np.argsort(-p, -1)[..., :3]
    np.testing.assert_array_equal(kept.ids, order)
    np.testing.assert_allclose(kept.log_probs, np.log(np.take_along_axis(p, order, -1)), rtol=1e-5)
    np.testing.assert_allclose(kept.tail, 1.0 - np.take_along_axis(p, order, -1).sum(-1), rtol=1e-4, atol=1e-6)
    assert kept.trust is trust
    assert keep_top(signal(kind, z), V + 3).ids.shape == (*shape, V)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_top_of_scores_is_that_of_their_log_probabilities(dtype, monkeypatch):
    monkeypatch.setattr(scores, "_CACHED", 100)
    z = (4.0 * torch.randn(7, 40, generator=torch.Generator().manual_seed(3))).to(dtype)
    z[2, 5:] = -math.inf
    places, log_probs, tail = scores.top_scores(z, 8)
    wide = z.double().numpy()
    shares = np.exp(wide - wide.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    order = np.argsort(-wide, axis=-1, kind="stable")[:, :8]
    best = np.take_along_axis(shares, order, -1)
    with np.errstate(divide="ignore"):
        expected = np.maximum(np.log(best), scores.LOG_FLOOR)
    rest = np.array([np.delete(row, kept).sum() for row, kept in zip(shares, order, strict=True)])
    assert log_probs.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert np.allclose(log_probs, expected, atol=1e-5)
    assert np.allclose(tail, rest, atol=1e-6)
    assert np.allclose(np.take_along_axis(shares, places.numpy(), -1), best)


def test_a_tiny_tail_keeps_its_digits():
    kept = keep_top(Logits(logits=torch.tensor([[0.0, -30.0, -31.0]])), 1)
    assert kept.tail.item() == pytest.approx(math.exp(-30.0) + math.exp(-31.0), rel=1e-5)


def test_the_tail_is_spread_over_what_is_not_named():
    kept = TopK(ids=torch.tensor([[4, 1]]), log_probs=torch.tensor([[0.5, 0.3]]).log(), tail=torch.tensor([0.2]))
    np.testing.assert_allclose(kept.log_softmax(outcomes=6).exp(), [[0.05, 0.3, 0.05, 0.05, 0.5, 0.05]], rtol=1e-5)
    fewer = np.array([0.2 / 3, 0.3, 0.2 / 3, 0.2 / 3])
    np.testing.assert_allclose(kept.log_softmax(outcomes=4).exp()[0], fewer / fewer.sum(), rtol=1e-5)
    with pytest.raises(TeacherError, match=r"likeliest outcomes only.*number of classes or tokens"):
        kept.scores()
    with pytest.raises(TeacherError, match="names the likeliest outcome alone"):
        demote(keep_top(kept, 1))


def test_hard_labels_are_sure_or_silent():
    labels = Labels(labels=torch.tensor([[2, IGNORE]]), trust=torch.tensor([[0.5, 0.5]]))
    np.testing.assert_allclose(labels.log_softmax(outcomes=3).exp(), [[[0, 0, 1], [1 / 3] * 3]], atol=1e-30, rtol=1e-6)
    assert labels.effective_trust.tolist() == [[0.5, 0.0]]
    assert tuple(labels.shape) == (1, 2)
    told = mix([labels, Logits(logits=torch.zeros(1, 2, 3))], [1.0, 1.0])
    np.testing.assert_allclose(told.log_softmax().exp()[0], [[2 / 9, 2 / 9, 5 / 9], [1 / 3] * 3], rtol=1e-5)
    assert told.trust.tolist() == [[0.75, 1.0]]


def test_vocabularies_of_different_sizes_are_cut_to_what_all_have():
    wide, narrow = drawn((2, 3)), drawn((2, 3), 1)[..., : V - 2]
    mixed = mix([signal("states", wide), Logits(logits=narrow)], [1.0, 1.0])
    assert mixed.outcomes == V - 2
    expected = 0.5 * softmax(wide.numpy()[..., : V - 2]) + 0.5 * softmax(narrow.numpy())
    np.testing.assert_allclose(mixed.log_softmax().exp(), expected, rtol=1e-5)


def test_states_are_scored_as_their_head_says_and_in_full():
    weight, bias = torch.randn(V, 3), torch.randn(V)
    hidden = torch.randn(2, 5, 3)
    told = States(hidden=hidden, head=Head(weight, bias, scale=0.5, softcap=2.0))
    expected = 2.0 * np.tanh(0.5 * (hidden.numpy() @ weight.numpy().T + bias.numpy()) / 2.0)
    np.testing.assert_allclose(told.scores(), expected, rtol=1e-5, atol=1e-6)
    short = States(hidden=hidden.bfloat16(), head=Head(weight.bfloat16()))
    with torch.autocast("cpu", torch.bfloat16):
        found = short.scores()
    np.testing.assert_allclose(found, short.hidden.float() @ short.head.weight.float().T, rtol=1e-5, atol=1e-6)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_scores_keep_their_type_and_are_worked_on_in_full(dtype, shape):
    z = drawn(shape, dtype=dtype)
    where, draw = torch.ones(shape, dtype=torch.bool), torch.rand(shape)
    for told in (
        add_noise(Logits(logits=z), where, draw),
        demote(Logits(logits=z)),
        mix([Logits(logits=z)] * 2, [1, 2]),
    ):
        assert told.logits.dtype == dtype
    np.testing.assert_allclose(
        probs(mix([Logits(logits=z)] * 2, [1.0, 2.0])), softmax(z.double().numpy()), rtol=100 * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("kind", ["logits", "labels", "top_k"])
def test_tensors_of_a_signal_put_it_together_again(kind, shape):
    told = signal(kind, drawn(shape).requires_grad_(), torch.rand(shape))
    tensors = to_tensors(told)
    assert all(tuple(t.shape[: len(shape)]) == shape and not t.requires_grad for t in tensors.values())
    again = from_tensors(type(told).__name__, tensors)
    assert type(again) is type(told)
    np.testing.assert_array_equal(probs(again), probs(told.map(torch.detach)))
    assert again.trust is tensors["trust"]


def test_features_stay_while_their_scores_change():
    told = Features(features={"a.b": torch.ones(2, 3)}, logits=torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    swapped = add_noise(told, torch.tensor([True, False]), torch.zeros(2))
    assert isinstance(swapped, Features)
    assert swapped.features is told.features
    assert swapped.logits.tolist() == [[1.0, 0.0], [2.0, 0.0]]
    again = from_tensors("Features", to_tensors(told))
    assert torch.equal(again.features["a.b"], told.features["a.b"])
    assert torch.equal(told.rows(slice(1, 2)).features["a.b"], torch.ones(1, 3))
    assert tuple(told.shape) == tuple(Features(features=told.features).shape) == (2,)


def test_what_says_nothing_of_classes_is_refused():
    for told in (Labels(labels=torch.tensor([1.0])), Features(features={"a": torch.ones(1, 1)})):
        with pytest.raises(TeacherError, match="no probabilities of classes or tokens"):
            add_noise(told, torch.tensor([True]), torch.zeros(1))
        with pytest.raises(TeacherError, match="no probabilities of classes or tokens"):
            keep_top(told, 1)
    with pytest.raises(TeacherError, match="States, which can't be stored as it is"):
        to_tensors(signal("states", drawn((1, 1))))
    with pytest.raises(TeacherError, match=r"\[2\], \[3\] examples or tokens"):
        mix([Logits(logits=torch.zeros(2, 2)), Logits(logits=torch.zeros(3, 2))], [1.0, 1.0])
    with pytest.raises(ConfigError, match="top_k is 0"):
        keep_top(Logits(logits=torch.zeros(2, 2)), 0)


def test_impossible_outcomes_stay_finite():
    told = Logits(logits=torch.tensor([[-math.inf, 0.0]]))
    assert told.log_softmax().tolist() == [[scores.LOG_FLOOR, 0.0]]
    mixed = mix([Labels(labels=torch.tensor([[1.0, 0.0]])), told], [1.0, 1.0], space="logit")
    assert torch.equal(mixed.log_softmax().exp(), torch.tensor([[0.5, 0.5]]))
