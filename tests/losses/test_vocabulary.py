"""Fused cross-entropy and log-probabilities of tokens against slow transcriptions, dense autograd and differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses.tokens.vocabulary import token_cross_entropy, token_log_probs
from didact.types import Head, Terms
from heads import chunks_of, distance, draw, slow_probs, slow_scores, trained

HEADS = [{}, {"bias": True, "scale": 0.7}, {"bias": True, "scale": 1.5, "softcap": 2.0}]
SIZES = [{"scores": 2**24, "dense": 2**23}, {"scores": 2**24}, {"scores": 40, "block": 17}, {"scores": 1}]


def ids(seed, tokens, vocabulary):
    return torch.randint(vocabulary, (tokens,), generator=torch.Generator().manual_seed(seed))


def dense(hidden, head, targets, temperature=1.0):
    log_probs = F.log_softmax(head(hidden) / temperature, -1)
    return log_probs.gather(1, targets[:, None])[:, 0], -(log_probs.exp() * log_probs).sum(-1)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 9999), st.integers(1, 9), st.integers(2, 12), st.sampled_from(HEADS), st.sampled_from(SIZES),
    st.floats(0.3, 4.0), st.booleans(),
)  # fmt: skip
def test_figures_are_those_of_the_slow_transcription(seed, tokens, vocabulary, options, sizes, temperature, each):
    hidden, head = draw(seed, tokens, vocabulary, 3, **options)
    targets, rng = ids(seed, tokens, vocabulary), np.random.default_rng(seed)
    heat = rng.uniform(0.3, 4.0, tokens) if each else temperature
    weight = rng.uniform(0.0, 2.0, tokens)
    with chunks_of(**sizes):
        chosen, entropies = token_log_probs(
            hidden, head, targets, temperature=torch.tensor(heat) if each else heat, entropy=True
        )
        term = token_cross_entropy(hidden, head, targets, torch.tensor(weight))
    probs = slow_probs(slow_scores(hidden, head, heat))
    expected = np.log(probs[np.arange(tokens), targets])
    np.testing.assert_allclose(chosen.detach(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(entropies.detach(), -(probs * np.log(probs)).sum(1), rtol=1e-4, atol=1e-5)
    plain = slow_probs(slow_scores(hidden, head))
    surprise = -np.log(plain[np.arange(tokens), targets])
    assert term.sum.item() == pytest.approx((weight * surprise).sum(), rel=1e-4, abs=1e-5)
    assert float(term.count) == pytest.approx(weight.sum())


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("options", HEADS)
def test_gradients_are_those_of_dense_autograd(options, sizes):
    hidden, head = draw(3, 50, 40, 16, **options)
    targets, heat = ids(1, 50, 40), torch.linspace(0.5, 2.0, 50)
    of_chosen, of_entropy = torch.linspace(-1, 2, 50), torch.linspace(3, -2, 50)
    chosen, entropies = dense(hidden, head, targets, heat[:, None])
    both = torch.autograd.grad(chosen @ of_chosen + entropies @ of_entropy, trained(hidden, head), retain_graph=True)
    alone = torch.autograd.grad(chosen @ of_chosen, trained(hidden, head), retain_graph=True)
    entropy_alone = torch.autograd.grad(entropies @ of_entropy, trained(hidden, head))
    surprise = torch.autograd.grad(-dense(hidden, head, targets)[0] @ heat, trained(hidden, head))
    with chunks_of(**sizes):
        found, spread = token_log_probs(hidden, head, targets, temperature=heat, entropy=True)
        spread_alone = token_log_probs(hidden, head, targets, temperature=heat, entropy=True)[1]
        losses = {
            "both": (found @ of_chosen + spread @ of_entropy, both),
            "log-probabilities": (token_log_probs(hidden, head, targets, temperature=heat)[0] @ of_chosen, alone),
            "entropy": (spread_alone @ of_entropy, entropy_alone),
            "cross-entropy": (token_cross_entropy(hidden, head, targets, heat).sum, surprise),
        }  # fmt: skip
        for name, (loss, expected) in losses.items():
            assert distance(torch.autograd.grad(loss, trained(hidden, head)), expected) < 1e-5, name


@pytest.mark.parametrize("options", HEADS)
def test_gradients_are_finite_differences(options):
    hidden, head = draw(5, 4, 6, 3, dtype=torch.float64, **options)
    targets, weight = ids(2, 4, 6), torch.tensor([0.5, 0.0, 2.0, 1.0])

    def rebuilt(weight, bias):
        return Head(weight, bias[0] if bias else None, head.scale, head.softcap)

    with chunks_of(13, 7):
        assert torch.autograd.gradcheck(
            lambda h, w, *b: token_log_probs(h, rebuilt(w, b), targets, temperature=0.7, entropy=True),
            trained(hidden, head),
        )
        assert torch.autograd.gradcheck(
            lambda h, w, *b: token_cross_entropy(h, rebuilt(w, b), targets, weight).sum, trained(hidden, head)
        )


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("sizes", SIZES[:3])
def test_short_types_give_nearly_the_gradients_of_float32(mixed, sizes):
    hidden, head = draw(6, 60, 50, 32, scale=0.3, dtype=torch.float32 if mixed else torch.bfloat16)
    targets = ids(3, 60, 50)
    exact_hidden, exact = (
        hidden.detach().float().requires_grad_(),
        Head(head.weight.detach().float().requires_grad_(), scale=0.3),
    )
    expected = torch.autograd.grad(-dense(exact_hidden, exact, targets)[0].sum(), [exact_hidden, exact.weight])
    with chunks_of(**sizes), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        losses = [token_cross_entropy(hidden, head, targets).sum, -token_log_probs(hidden, head, targets)[0].sum()]
        for loss in losses:
            found = torch.autograd.grad(loss, [hidden, head.weight])
            assert loss.dtype == torch.float32
            assert [g.dtype for g in found] == [hidden.dtype, head.weight.dtype]
            assert distance(found, expected) < 2e-2


def test_a_frozen_head_gets_nothing_and_may_be_large():
    hidden, head = draw(7, 5, 30, 4)
    frozen = Head(head.weight.detach())
    with chunks_of(60):
        token_cross_entropy(hidden, frozen, ids(4, 5, 30)).sum.backward()
        with torch.no_grad():
            log_probs, none = token_log_probs(hidden, frozen, ids(4, 5, 30))
    assert none is None and not log_probs.requires_grad and frozen.weight.grad is None
    expected = torch.autograd.grad(-dense(hidden, frozen, ids(4, 5, 30))[0].sum(), hidden)
    assert distance([hidden.grad], expected) < 1e-5


def test_ids_that_are_only_padding_are_cut_off_or_forbidden():
    hidden, head = draw(8, 6, 12, 4, bias=True)
    forbidden = Head(head.weight, torch.where(torch.arange(12) < 9, head.bias, -torch.inf).detach())
    targets = ids(5, 6, 9)
    for dense_scores in (0, 1000):
        with chunks_of(24, dense=dense_scores):
            cut, spread = token_log_probs(hidden, head.slice(9), targets, entropy=True)
            other, other_spread = token_log_probs(hidden, forbidden, targets, entropy=True)
            (cut.sum() + spread.sum()).backward(retain_graph=True)
            assert head.weight.grad[9:].abs().max() == 0 < head.weight.grad[:9].abs().max()
            (gradient,) = torch.autograd.grad(other.sum() + other_spread.sum(), hidden)
        torch.testing.assert_close((cut, spread), (other, other_spread))
        assert gradient.isfinite().all()


@pytest.mark.parametrize("sizes", SIZES[:3])
def test_tokens_of_weight_zero_might_as_well_not_be_there(sizes):
    hidden, head = draw(9, 8, 11, 4)
    targets, weight = ids(6, 8, 11), torch.tensor([1.0, 0, 2, 0, 0, 1, 1, 0])
    with chunks_of(**sizes):
        all_of_them = token_cross_entropy(hidden, head, targets, weight)
        kept = weight > 0
        some = token_cross_entropy(hidden[kept], head, targets[kept], weight[kept])
        first, second = (torch.autograd.grad(t.sum, trained(hidden, head)) for t in (all_of_them, some))
    assert distance(first, second) < 1e-6 and float(all_of_them.count) == float(some.count) == 5.0


@pytest.mark.parametrize("sizes", SIZES[:3])
def test_no_tokens_make_a_term_of_zero(sizes):
    hidden, head = draw(10, 0, 11, 4, bias=True)
    with chunks_of(**sizes):
        term = token_cross_entropy(hidden, head, ids(7, 0, 11))
        Terms(nothing=term).backward()
        log_probs, entropies = token_log_probs(hidden, head, ids(7, 0, 11), entropy=True)
        (log_probs.sum() + entropies.sum()).backward()
    assert term.sum.item() == 0.0 and term.count == 0
    assert log_probs.shape == entropies.shape == (0,)
    assert head.weight.grad.abs().max() == 0


def test_a_whole_vocabulary_is_never_held():
    tokens, vocabulary = 64, 1000
    hidden, head = draw(11, tokens, vocabulary, 4)
    sizes = []
    with (
        chunks_of(2 * vocabulary, vocabulary),
        torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t),
    ):
        token_cross_entropy(hidden, head, ids(8, tokens, vocabulary)).sum.backward()
        token_log_probs(hidden, head, ids(8, tokens, vocabulary))[0].sum().backward()
    assert 0 < max(sizes) <= vocabulary * 4


def test_what_cannot_be_is_refused():
    hidden, head = draw(12, 3, 5, 4)
    with pytest.raises(ConfigError, match=r"hidden has shape \[3, 2\], and the head's weight \[5, 4\]"):
        token_cross_entropy(hidden[:, :2], head, ids(9, 3, 5))
    with pytest.raises(ConfigError, match=r"temperature is 0\.0"):
        token_log_probs(hidden, head, ids(9, 3, 5), temperature=0.0)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_gradients_are_those_of_float32_too(dtype):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    hidden, head = draw(13, 60, 500, 64, scale=0.3, dtype=dtype)
    on_device, weight = (t.detach().cuda().requires_grad_() for t in (hidden, head.weight))
    targets = ids(10, 60, 500)
    exact_hidden, exact = (
        hidden.detach().double().requires_grad_(),
        Head(head.weight.detach().double().requires_grad_(), scale=0.3),
    )
    expected = torch.autograd.grad(-dense(exact_hidden, exact, targets)[0].sum(), [exact_hidden, exact.weight])
    with chunks_of(5000):
        loss = token_cross_entropy(on_device, Head(weight, scale=0.3), targets.cuda()).sum
        found = [g.cpu() for g in torch.autograd.grad(loss, [on_device, weight])]
    assert distance(found, expected) < (1e-4 if dtype == torch.float32 else 2e-2)
