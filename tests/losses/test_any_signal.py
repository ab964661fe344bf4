"""Losses of tokens against whatever a teacher says, by slow transcriptions of the distributions that it tells."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError, TeacherError
from didact.losses.tokens import _teacher
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.overlap import topk_overlap
from didact.losses.tokens.transport import token_sinkhorn
from didact.losses.tokens.vocabulary import signal_log_probs
from didact.types import LOG_FLOOR, Features, Head, Labels, Logits, States, TopK
from didact.types.algebra import add_noise, demote, keep_top, mix
from heads import chunks_of, distance, draw, slow_probs, slow_scores, trained

N, V = 11, 9


def student(seed=0):
    return draw(seed, N, V, 4, bias=True, scale=0.8)


def states(seed, size=V, width=5, **options):
    hidden, head = draw(seed, N, size, width, **options)
    return States(hidden=hidden, head=head)


def table(seed, size=V):
    return 2.0 * torch.randn(N, size, generator=torch.Generator().manual_seed(seed))


WHERE, DRAW = torch.arange(N) % 3 == 0, torch.linspace(0.0, 0.99, N)
SIGNALS = {
    "logits": lambda: Logits(logits=table(1)),
    "short logits": lambda: Logits(logits=table(1).bfloat16()),
    "more logits": lambda: Logits(logits=table(1, V + 3)),
    "fewer logits": lambda: Logits(logits=table(1, V - 2)),
    "probabilities": lambda: Labels(labels=table(1).softmax(-1)),
    "tokens": lambda: Labels(labels=torch.arange(N) % V),
    "noisy states": lambda: add_noise(states(1), WHERE, DRAW),
    "capped states": lambda: states(1, bias=True, softcap=2.0),
    "adversarial states": lambda: demote(states(1, bias=True), 0.6),
    "mean of states": lambda: mix([states(1), states(2, width=3, bias=True, scale=0.4)], [1.0, 2.0]),
    "mean in logits": lambda: mix([states(1), states(2, V + 2, width=3)], [1.0, 2.0], space="logit"),
    "mean by confidence": lambda: mix([states(1), Logits(logits=table(2))], [1.0, 2.0], by_confidence=True),
    "noisy mean": lambda: add_noise(mix([states(1), demote(states(2))], [1.0, 2.0]), WHERE, DRAW),
    "mean with likeliest": lambda: mix([keep_top(states(1), 3), states(2)], [1.0, 1.0]),
}
SIZES = [{"scores": 2**24}, {"scores": 40, "block": 17}, {"scores": 1}]


def told(signal, temperature=1.0):
    """Probabilities in NumPy, of the ids that the student has."""
    scores = signal.scores(V).double().numpy()[:, :V] / temperature
    return slow_probs(scores)


def kl(p, q):
    return np.where(p > 1e-40, p * (np.log(p.clip(1e-300)) - np.log(q.clip(1e-300))), 0.0).sum(-1)


# In reverse, what is impossible to a teacher of tokens is infinitely far.
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(
    ("name", "kind", "temperature"),
    [
        *((name, "forward", 1.0) for name in SIGNALS),
        *((name, "reverse", 2.0) for name in SIGNALS if name != "tokens"),
    ],
)
def test_the_divergence_is_from_what_the_teacher_tells(name, kind, temperature, sizes):
    (hidden, head), signal = student(), SIGNALS[name]()
    trust = torch.linspace(0.0, 1.0, N)
    p = told(signal, temperature)
    q = slow_probs(slow_scores(hidden, head.slice(p.shape[1]), temperature))
    signal = type(signal)(**{**signal.fields(), "trust": trust})
    with chunks_of(**sizes):
        term = token_divergence(hidden, head, signal, kind=kind, temperature=temperature, weight=torch.full((N,), 2.0))
        gradients = torch.autograd.grad(term.sum, trained(hidden, head))
    each = kl(p, q) if kind == "forward" else kl(q, p)
    expected = (2.0 * trust.numpy() * each).sum() * temperature**2
    assert term.sum.item() == pytest.approx(expected, rel=2e-4)
    assert float(term.count) == pytest.approx(2.0 * trust.sum().item())
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", ["logits", "mean of states", "noisy states"])
def test_states_and_what_is_made_of_them_teach_alike(name):
    (hidden, head), signal = student(), SIGNALS[name]()
    same = States(hidden=signal.log_softmax(), head=Head(torch.eye(V)))
    found = [
        torch.autograd.grad(token_divergence(hidden, head, one, kind="jsd").sum, trained(hidden, head))
        for one in (signal, same)
    ]
    assert distance(*found) < 1e-5


def test_the_likeliest_tokens_teach_with_their_tail():
    hidden, head = student()
    kept = keep_top(states(1), 3)
    q, ids = slow_probs(slow_scores(hidden, head)), kept.ids.numpy()
    of_ids = np.take_along_axis(q, ids, 1)
    mine = np.concatenate([of_ids, 1 - of_ids.sum(1, keepdims=True)], 1)
    theirs = np.concatenate([kept.log_probs.exp().detach().numpy(), kept.tail.detach().numpy()[:, None]], 1)
    assert token_divergence(hidden, head, kept).sum.item() == pytest.approx(kl(theirs, mine).sum(), rel=1e-4)
    with pytest.raises(ConfigError, match=r"temperature is 2.*tail can't be softened"):
        token_divergence(hidden, head, kept, temperature=2.0)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("scores", [1, 30, 2**24])
def test_log_probabilities_are_those_that_are_told(name, scores, monkeypatch):
    monkeypatch.setattr(_teacher, "CHUNK", scores)
    signal, targets = SIGNALS[name](), torch.arange(N) % (V - 2)
    temperature = torch.linspace(0.5, 2.0, N)
    whole = signal.scores(V).double().numpy() / temperature.double().numpy()[:, None]
    expected = np.log(slow_probs(whole)[np.arange(N), targets].clip(np.exp(LOG_FLOOR)))
    found = signal_log_probs(signal, targets, vocabulary=V, temperature=temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def test_tokens_that_a_teacher_lacks_are_as_unlikely_as_can_be():
    signal = SIGNALS["fewer logits"]()
    targets = torch.tensor([0] * (N - 1) + [V - 1])
    found = signal_log_probs(signal, targets)
    assert found[-1] == LOG_FLOOR
    assert (found[:-1] > -20).all()
    with pytest.raises(TeacherError, match="does not determine the number of tokens"):
        signal_log_probs(keep_top(signal, 2), targets)


@pytest.mark.parametrize("name", [name for name in SIGNALS if name != "tokens"])
def test_overlap_and_transport_see_what_is_told(name, monkeypatch):
    (hidden, head), signal = student(), SIGNALS[name]()
    p = told(signal)
    same = States(hidden=torch.from_numpy(np.log(p)).float(), head=Head(torch.eye(p.shape[1])))
    monkeypatch.setattr(_teacher, "CHUNK", 20)
    assert torch.equal(topk_overlap(hidden, head, signal, 3), topk_overlap(hidden, head, same, 3))
    found, expected = (token_sinkhorn(hidden, head, one, top_k=4, group=4).sum.item() for one in (signal, same))
    assert found == pytest.approx(expected, rel=1e-4)


def test_what_says_nothing_of_tokens_is_refused():
    hidden, head = student()
    silent = Features(features={"a": torch.zeros(N, 1)})
    with pytest.raises(TeacherError, match="Features, which holds no probabilities of classes or tokens"):
        token_divergence(hidden, head, silent)
    likeliest = TopK(ids=torch.zeros(3, 1, dtype=torch.int64), log_probs=torch.zeros(3, 1), tail=torch.zeros(3))
    with pytest.raises(ConfigError, match=r"11 rows and the teacher's signal is of \[3\] tokens"):
        token_divergence(hidden, head, likeliest)
