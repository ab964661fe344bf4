"""Fused divergences of tokens against slow transcriptions, dense autograd and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses.classes.divergence import forward_kl, jensen_shannon, reverse_kl
from didact.losses.tokens.divergence import token_divergence, token_topk_divergence
from didact.types import Head, States, Terms, TopK
from heads import chunks_of, distance, draw, slow_probs, slow_scores, trained

HEADS = [{}, {"bias": True, "scale": 0.7}, {"bias": True, "scale": 1.5, "softcap": 2.0}]
KINDS = [("forward", 0.5), ("reverse", 0.5), ("jsd", 0.2), ("jsd", 0.8), ("scaled_jsd", 0.3), ("scaled_jsd", 0.9)]
SIZES = [{"scores": 2**24}, {"scores": 40, "block": 17}, {"scores": 1}]


def said(hidden, head):
    return States(hidden=hidden, head=head)


def slow(p, q, kind, beta):
    """Sums over outcomes as the definitions are written, of each pair of rows."""

    def kl(a, b):
        return np.array(
            [sum(x * np.log(x / y) for x, y in zip(r, s, strict=True) if x > 0) for r, s in zip(a, b, strict=True)]
        )

    if kind == "forward":
        return kl(p, q)
    if kind == "reverse":
        return kl(q, p)
    mixture = beta * p + (1 - beta) * q
    jsd = beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)
    return jsd / (beta * (1 - beta)) if kind == "scaled_jsd" else jsd


def of_classes(logits, teacher_log_probs, kind, beta, temperature, trust=None):
    """The same divergence of whole rows of logits, differentiated by autograd."""
    options = {"temperature": temperature, "trust": trust}
    if kind == "forward":
        return forward_kl(logits, teacher_log_probs, **options)
    if kind == "reverse":
        return reverse_kl(logits, teacher_log_probs, **options)
    return jensen_shannon(logits, teacher_log_probs, beta=beta, continuous=kind == "scaled_jsd", **options)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 9999), st.integers(1, 8), st.integers(2, 12), st.integers(2, 12), st.sampled_from(HEADS),
    st.sampled_from(HEADS), st.sampled_from(SIZES), st.sampled_from(["forward", "reverse", "jsd", "scaled_jsd"]),
    st.floats(0.05, 0.95), st.floats(0.5, 4.0), st.booleans(),
)  # fmt: skip
def test_figures_are_those_of_the_slow_transcription(
    seed, tokens, vocabulary, others, mine, theirs, sizes, kind, beta, temperature, weighted
):
    hidden, head = draw(seed, tokens, vocabulary, 3, **mine)
    teacher_hidden, teacher = draw(seed + 1, tokens, others, 5, **theirs)
    weight = np.random.default_rng(seed).uniform(0.0, 2.0, tokens) if weighted else np.ones(tokens)
    options = {
        "kind": kind,
        "beta": beta,
        "temperature": temperature,
        "weight": torch.tensor(weight) if weighted else None,
    }
    with chunks_of(**sizes):
        term = token_divergence(hidden, head, said(teacher_hidden, teacher), **options)
    shared = min(vocabulary, others)
    q = slow_probs(slow_scores(hidden, head.slice(shared), temperature))
    p = slow_probs(slow_scores(teacher_hidden, teacher.slice(shared), temperature))
    expected = (weight * slow(p, q, kind, beta)).sum() * temperature**2
    assert term.sum.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert float(term.count) == pytest.approx(weight.sum())


@pytest.mark.parametrize("sizes", SIZES[:2])
@pytest.mark.parametrize("options", HEADS)
@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_gradients_are_those_of_dense_autograd(kind, beta, options, sizes):
    hidden, head = draw(3, 50, 40, 16, **options)
    teacher_hidden, teacher = draw(4, 50, 44, 8, **options)
    weight = torch.linspace(0.0, 2.0, 50)
    log_probs = F.log_softmax(teacher.slice(40)(teacher_hidden) / 1.5, -1).detach()
    dense = of_classes(head(hidden), log_probs, kind, beta, 1.5, weight)
    expected = torch.autograd.grad(dense.sum, trained(hidden, head))
    with chunks_of(**sizes):
        term = token_divergence(
            hidden, head, said(teacher_hidden, teacher), kind=kind, beta=beta, temperature=1.5, weight=weight
        )
        assert distance(torch.autograd.grad(term.sum * 0.3, trained(hidden, head)), [0.3 * g for g in expected]) < 1e-5
    assert term.sum.item() == pytest.approx(dense.sum.item(), rel=1e-5)
    term = token_divergence(hidden, Head(head.weight.detach()), said(teacher_hidden, teacher))
    term.sum.backward()
    assert hidden.grad is not None and teacher_hidden.grad is None and teacher.weight.grad is None


@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_gradients_are_finite_differences(kind, beta):
    hidden, head = draw(5, 3, 6, 3, dtype=torch.float64, bias=True, softcap=3.0)
    teacher_hidden, teacher = draw(6, 3, 7, 2, dtype=torch.float64)
    log_probs = torch.tensor([[0.5, 0.1]]).log().expand(3, 2)
    signal = TopK(ids=torch.tensor([[0, 4], [2, 1], [5, 3]]), log_probs=log_probs, tail=torch.full((3,), 0.4))
    options = {"kind": kind, "beta": beta, "temperature": 0.8}
    with chunks_of(13, 7):
        for of in (
            lambda h, w, b: token_divergence(h, Head(w, b, 1.0, 3.0), said(teacher_hidden, teacher), **options).sum,
            lambda h, w, b: token_topk_divergence(h, Head(w, b, 1.0, 3.0), signal, **options).sum,
        ):
            assert torch.autograd.gradcheck(of, trained(hidden, head))


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_short_types_give_nearly_the_gradients_of_float32(kind, beta, mixed):
    dtype = torch.float32 if mixed else torch.bfloat16
    hidden, head = draw(6, 60, 50, 32, scale=0.3, dtype=dtype)
    teacher_hidden, teacher = draw(7, 60, 50, 32, scale=0.3, dtype=dtype)
    exact_hidden = hidden.detach().float().requires_grad_()
    exact = Head(head.weight.detach().float().requires_grad_(), scale=0.3)
    log_probs = F.log_softmax(Head(teacher.weight.detach().float(), scale=0.3)(teacher_hidden.detach().float()), -1)
    expected = torch.autograd.grad(
        of_classes(exact(exact_hidden), log_probs, kind, beta, 1.0).sum, [exact_hidden, exact.weight]
    )
    with chunks_of(300, 100), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss = token_divergence(hidden, head, said(teacher_hidden, teacher), kind=kind, beta=beta).sum
        found = torch.autograd.grad(loss, [hidden, head.weight])
    assert loss.dtype == torch.float32 and found[0].dtype == found[1].dtype == dtype
    assert distance(found, expected) < 2e-2


@pytest.mark.parametrize(("end", "kind"), [(0.0, "forward"), (1.0, "reverse")])
def test_the_scaled_divergence_has_no_jump_at_its_ends(end, kind):
    hidden, head = draw(8, 20, 2000, 8, scale=0.3)
    teacher_hidden, teacher = draw(9, 20, 2000, 8, scale=0.3)

    def at(kind, beta):
        term = token_divergence(hidden, head, said(teacher_hidden, teacher), kind=kind, beta=beta)
        return term.sum.item(), torch.autograd.grad(term.sum, trained(hidden, head))

    limit, gradients = at(kind, 0.5)
    assert at("scaled_jsd", end)[0] == limit
    last = np.inf
    for near in (1e-2, 1e-4, 1e-6):
        value, found = at("scaled_jsd", abs(end - near))
        assert abs(value - limit) < last
        last = abs(value - limit)
    assert last < 1e-4 * limit and distance(found, gradients) < 1e-3
    assert at("jsd", abs(end - 1e-2))[0] < 0.02 * limit


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    hidden, head = draw(10, 9, 30, 4, bias=True, softcap=2.0)
    for kind, beta in KINDS:
        with chunks_of(100, 50):
            term = token_divergence(hidden, head, said(hidden, head), kind=kind, beta=beta, temperature=2.0)
            gradients = torch.autograd.grad(term.sum, trained(hidden, head))
        assert term.sum.item() == 0.0
        assert max(g.abs().max() for g in gradients) < 1e-6


def test_ids_without_counterpart_change_nothing_and_padding_of_minus_infinity_neither():
    hidden, head = draw(11, 6, 12, 4, bias=True)
    teacher_hidden, teacher = draw(12, 6, 9, 4)
    padded = [
        Head(h.weight.detach(), torch.where(torch.arange(12) < 9, 0.3, -torch.inf))
        for h in (head, draw(13, 6, 12, 4)[1])
    ]
    for kind, beta in KINDS:
        term = token_divergence(hidden, head, said(teacher_hidden, teacher), kind=kind, beta=beta)
        same = token_divergence(hidden, head.slice(9), said(teacher_hidden, teacher), kind=kind, beta=beta)
        assert term.sum.item() == same.sum.item()
        term.sum.backward()
        assert head.weight.grad[9:].abs().max() == 0 and head.bias.grad[9:].abs().max() == 0
        both = token_divergence(hidden, padded[0], said(teacher_hidden, padded[1]), kind=kind, beta=beta)
        nine = said(teacher_hidden, padded[1].slice(9))
        cut = token_divergence(hidden, padded[0].slice(9), nine, kind=kind, beta=beta)
        assert both.sum.item() == pytest.approx(cut.sum.item(), rel=1e-5)
        assert torch.autograd.grad(both.sum, hidden)[0].isfinite().all()


# ---- the most probable tokens


def top(scores, count, temperature=1.0):
    log_probs = F.log_softmax(scores / temperature, -1).detach()
    found = log_probs.topk(count)
    return TopK(ids=found.indices, log_probs=found.values, tail=(1 - found.values.exp().sum(-1)).clamp_min(0))


def gathered(probs, ids):
    """Probabilities of the ids, and of all others."""
    chosen = np.take_along_axis(probs, ids, 1)
    others = [[sum(row[v] for v in range(len(row)) if v not in set(i))] for row, i in zip(probs, ids, strict=True)]
    return np.concatenate([chosen, np.array(others)], 1)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 9999), st.integers(1, 8), st.integers(3, 12), st.integers(1, 4), st.sampled_from(HEADS),
    st.sampled_from(SIZES), st.sampled_from(KINDS), st.floats(0.5, 3.0),
)  # fmt: skip
def test_the_tail_is_one_more_outcome(seed, tokens, vocabulary, count, options, sizes, kind, temperature):
    hidden, head = draw(seed, tokens, vocabulary, 3, **options)
    signal = top(
        draw(seed + 1, tokens, vocabulary, 1)[0] @ torch.randn(1, vocabulary), min(count, vocabulary - 1), temperature
    )
    trust = torch.linspace(0.0, 1.0, tokens)
    signal = TopK(ids=signal.ids, log_probs=signal.log_probs, tail=signal.tail, trust=trust)
    with chunks_of(**sizes):
        term = token_topk_divergence(
            hidden, head, signal, kind=kind[0], beta=kind[1], temperature=temperature, weight=torch.full((tokens,), 2.0)
        )
    q = gathered(slow_probs(slow_scores(hidden, head, temperature)), signal.ids.numpy())
    p = np.concatenate([signal.log_probs.double().exp(), signal.tail.double()[:, None]], 1)
    expected = (2 * trust.numpy() * slow(p / p.sum(1, keepdims=True), q, *kind)).sum() * temperature**2
    assert term.sum.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert float(term.count) == pytest.approx(2 * trust.sum().item())


@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_all_but_one_token_are_as_good_as_the_whole_distribution(kind, beta):
    hidden, head = draw(14, 7, 9, 4, bias=True)
    teacher_hidden, teacher = draw(15, 7, 9, 4)
    whole = token_divergence(hidden, head, said(teacher_hidden, teacher), kind=kind, beta=beta, temperature=2.0)
    expected = torch.autograd.grad(whole.sum, trained(hidden, head))
    for count in (8, 9):
        signal = top(teacher(teacher_hidden), count, 2.0)
        with chunks_of(30, 20):
            term = token_topk_divergence(hidden, head, signal, kind=kind, beta=beta, temperature=2.0)
            found = torch.autograd.grad(term.sum, trained(hidden, head))
        assert term.sum.item() == pytest.approx(whole.sum.item(), rel=1e-4)
        assert distance(found, expected) < 1e-4


def test_the_tail_keeps_the_divergence_from_going_below_zero():
    hidden, head = draw(16, 1, 5, 3)
    peaked = Head(head.weight.detach() * 0, torch.tensor([4.0, 0, 0, 0, 0]))
    signal = TopK(ids=torch.tensor([[0]]), log_probs=torch.tensor([[0.5]]).log(), tail=torch.tensor([0.5]))
    q = torch.softmax(peaked.bias, 0)[0].item()
    assert 0.5 * np.log(0.5 / q) < 0
    expected = 0.5 * np.log(0.5 / q) + 0.5 * np.log(0.5 / (1 - q))
    assert token_topk_divergence(hidden, peaked, signal).sum.item() == pytest.approx(expected, rel=1e-5)


def test_ids_that_the_student_lacks_are_left_out():
    hidden, head = draw(17, 1, 5, 3)
    kept = {"log_probs": torch.tensor([[0.3, 0.1]]).log(), "tail": torch.tensor([0.2])}
    wider = TopK(ids=torch.tensor([[0, 7, 3]]), log_probs=torch.tensor([[0.3, 0.4, 0.1]]).log(), tail=kept["tail"])
    gone = TopK(ids=torch.tensor([[0, 0, 3]]), log_probs=torch.tensor([[0.3, 0.0, 0.1]]).log(), tail=kept["tail"])
    term = token_topk_divergence(hidden, head, TopK(ids=torch.tensor([[0, 3]]), **kept))
    expected = torch.autograd.grad(term.sum, trained(hidden, head))
    for signal in (wider, gone):
        other = token_topk_divergence(hidden, head, signal)
        assert other.sum.item() == pytest.approx(term.sum.item(), rel=1e-6)
        assert distance(torch.autograd.grad(other.sum, trained(hidden, head)), expected) < 1e-5


def test_no_tokens_make_a_term_of_zero():
    hidden, head = draw(18, 0, 11, 4, bias=True)
    signal = TopK(ids=torch.empty(0, 2, dtype=torch.long), log_probs=torch.empty(0, 2), tail=torch.empty(0))
    for term in (token_divergence(hidden, head, said(hidden, head)), token_topk_divergence(hidden, head, signal)):
        Terms(nothing=term).backward()
        assert term.sum.item() == 0.0 and term.count == 0 and head.weight.grad.abs().max() == 0


def test_what_cannot_be_is_refused():
    hidden, head = draw(19, 3, 5, 4)
    for options, message in [
        ({"kind": "forwards"}, "Did you mean forward"),
        ({"kind": "jsd", "beta": 1.0}, "kind='scaled_jsd'"),
        ({"kind": "jsd", "beta": 1.2}, r"beta is 1\.2"),
        ({"temperature": -1.0}, r"temperature is -1\.0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            token_divergence(hidden, head, said(hidden, head), **options)
    with pytest.raises(ConfigError, match=r"signal is of \[2\] tokens"):
        token_divergence(hidden, head, said(hidden[:2], head))
    with pytest.raises(ConfigError, match=r"signal is of \[2\] tokens"):
        signal = TopK(ids=torch.zeros(2, 2, dtype=torch.long), log_probs=torch.zeros(2, 2), tail=torch.zeros(2))
        token_topk_divergence(hidden, head, signal)
    with pytest.raises(ConfigError, match="must be"):
        token_divergence(hidden, head, said(hidden[:, :2], head))
