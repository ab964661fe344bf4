"""Forms of stored signals: what is kept, what is lost, and how many bytes it takes."""

import math

import numpy as np
import pytest
import torch

from didact.errors import ConfigError, TeacherError
from didact.memory.coding import Column, Form, columns_of, decode, draw, encode, loss_of
from didact.types import Features, Labels, Logits, TopK
from didact.types.algebra import from_tensors


def some_logits(rows: int = 200, outcomes: int = 1000, seed: int = 0) -> Logits:
    chance = torch.Generator().manual_seed(seed)
    return Logits(logits=3.0 * torch.randn(rows, outcomes, generator=chance))


def read_back(signal, form: Form, outcomes: int | None = None):
    kept = form.reduce(signal)
    columns = columns_of(kept, form, outcomes)
    return from_tensors(type(kept).__name__, decode(encode(kept, columns), columns)), columns


def test_codes_of_log_probabilities_are_off_by_half_a_step_of_the_companding_at_most() -> None:
    exact = -torch.linspace(0.0, 24.0, 5001).unsqueeze(-1)
    column = {"log_probs": Column("companded", "uint8", (1,)), "ids": Column("plain", "uint16", (1,))}
    columns = {**column, "tail": Column("plain", "float16", ())}
    given = TopK(ids=torch.zeros_like(exact, dtype=torch.int64), log_probs=exact, tail=torch.zeros(5001))
    stored = decode(encode(given, columns), columns)["log_probs"]
    # By hand: the code c = 255 sqrt(l / 24) is off by 1/2 at most, and so l by 24 (c + 1/4) / 255^2.
    code = 255 * (-exact.double() / 24).sqrt()
    assert bool(((stored - exact).abs() <= 24 * (code + 0.25) / 255**2 + 1e-5).all())


def test_top_k_in_8_bits_loses_little_over_what_it_keeps_and_takes_98_bytes_of_32_tokens() -> None:
    signal = some_logits()
    stored, columns = read_back(signal, Form("top_k", 32, 8), outcomes=32_768)
    assert sum(column.width_in_bytes for column in columns.values()) == 32 * 2 + 32 + 2
    lost = loss_of(signal, stored)
    assert lost["kl_kept"] < 1e-3
    # An independent one, in one more bucket.
    theirs = signal.logits.double().log_softmax(-1)
    top, ids = theirs.topk(32)
    q = torch.cat([stored.log_probs.double().exp(), stored.tail.double().unsqueeze(-1)], -1)
    p = torch.cat([top.exp(), (1 - top.exp().sum(-1, keepdim=True))], -1)
    assert torch.equal(ids, stored.ids)
    by_hand = (p * (p / (q / q.sum(-1, keepdim=True))).log()).sum(-1).mean()
    assert lost["kl_kept"] == pytest.approx(float(by_hand), rel=1e-4)


def test_the_divergence_counts_what_was_left_out() -> None:
    signal = some_logits(outcomes=50)
    few, many = (loss_of(signal, read_back(signal, Form("top_k", k, 32))[0])["kl"] for k in (2, 40))
    assert few > 10 * many > 0.0
    assert loss_of(signal, read_back(signal, Form("top_k", 50, 32))[0])["kl"] == pytest.approx(0.0, abs=1e-6)


def test_draws_are_shares_of_the_draws_and_unbiased() -> None:
    signal = some_logits(rows=1, outcomes=8)
    probs = signal.logits.softmax(-1)[0].double()
    total = torch.zeros(8, dtype=torch.float64)
    for seed in range(400):
        found = draw(signal, 5, seed)
        assert len(set(found.ids[0].tolist())) == 5
        shares = found.log_probs[0].double().exp()
        assert torch.allclose((shares * 5).round(), shares * 5, atol=1e-5) and shares.sum() == pytest.approx(1.0)
        total[found.ids[0]] += shares
    # 2,000 draws: the standard error of each share.
    assert bool(((total / 400 - probs).abs() < 4 * (probs * (1 - probs) / 2000).sqrt() + 1e-9).all())


def test_the_same_seed_draws_the_same() -> None:
    signal = some_logits()
    assert torch.equal(draw(signal, 9, 3).ids, draw(signal, 9, 3).ids)
    assert not torch.equal(draw(signal, 9, 3).ids, draw(signal, 9, 4).ids)


@pytest.mark.parametrize("bits, bound", [(32, 0.0), (16, 6e-4), (8, 1 / 127)])
def test_representations_are_rounded_to_their_largest_number(bits: int, bound: float) -> None:
    chance = torch.Generator().manual_seed(0)
    features = {"body": torch.randn(20, 3, 5, generator=chance), "head": torch.zeros(20, 4)}
    stored, columns = read_back(Features(features=features), Form(bits=bits))
    error = (stored.features["body"] - features["body"]).abs().flatten(1).amax(1)
    assert bool((error <= bound * features["body"].abs().flatten(1).amax(1)).all())
    assert bool((stored.features["head"] == 0).all())
    assert columns["features.body"].width_in_bytes == 15 * bits // 8 + 2 * (bits == 8)


def test_targets_keep_their_precision_and_trust_its_rows() -> None:
    targets = Labels(labels=torch.tensor([1234.5678, -0.001]), trust=torch.tensor([1.0, 0.25]))
    stored, _ = read_back(targets, Form(bits=8))
    assert torch.equal(stored.labels, targets.labels) and torch.equal(stored.trust, targets.trust)


def test_ids_above_two_bytes_take_four() -> None:
    signal = some_logits(rows=2, outcomes=70_000)
    stored, columns = read_back(signal, Form("top_k", 3, 8), outcomes=70_000)
    assert np.dtype(columns["ids"].dtype).itemsize == 4
    assert torch.equal(stored.ids, signal.logits.topk(3).indices)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"kept": "some"}, "kept"),
        ({"bits": 4}, "bits"),
        ({"kept": "top_k"}, "count"),
        ({"count": 3}, "count"),
        ({"kept": "sampled", "count": 300}, "255"),
    ],
)
def test_a_form_that_cannot_be_is_refused(given: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Form(**given)


def test_nothing_is_drawn_of_outcomes_without_number() -> None:
    kept = TopK(ids=torch.tensor([[1]]), log_probs=torch.zeros(1, 1), tail=torch.zeros(1))
    with pytest.raises(TeacherError, match="drawn"):
        draw(kept, 2, 0)
    assert math.isclose(float(Form("top_k", 1).reduce(kept).log_probs), 0.0)
