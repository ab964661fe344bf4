"""Attention over short sequences, against sums in loops and against numerical derivatives."""

import numpy as np
import pytest
import torch

from didact.learners.decoder import Decoder, DecoderConfig, rotary_angles
from didact.learners.short_attention import LONGEST, attend, is_short, pair_columns

B, T, H, E = 2, 5, 3, 4


def turns(length=T, size=E, theta=50.0):
    return torch.complex(*rotary_angles(torch.arange(length)[None], size, theta))[0, :, 0].to(torch.complex128)


def states():
    return torch.randn(B, T, 3 * H, E, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def slow(x, angles):
    """Pair by pair, head by head, position by position."""
    pairs = (x[..., 0::2] + 1j * x[..., 1::2])[:, :, : 2 * H] * angles[None, :, None]
    found = np.zeros((B, T, H, E))
    for b, t, h in np.ndindex(B, T, H):
        scores = [(pairs[b, t, h] * pairs[b, s, H + h].conj()).real.sum() / E**0.5 for s in range(t + 1)]
        weights = np.exp(scores) / np.exp(scores).sum()
        found[b, t, h] = sum(w * x[b, s, 2 * H + h] for s, w in enumerate(weights))
    return found.reshape(B, T, H * E)


def test_the_definition():
    x = states()
    kept = x.clone()
    found = attend(x, turns())
    np.testing.assert_allclose(found.numpy(), slow(x.numpy(), turns().numpy()), atol=1e-12)
    assert torch.equal(x, kept)


def test_the_gradient():
    x = states().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attend(x, turns()), x)


def test_columns_that_turn_together_lie_side_by_side():
    weight = torch.arange(2 * E)[:, None].expand(-1, 3)
    assert pair_columns(weight, E)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_a_decoder_is_the_same_either_way(monkeypatch, precision):
    shape = DecoderConfig(vocabulary=40, layers=2, width=32, heads=4, kv_heads=4, mlp_width=48)
    model = Decoder(shape, seed=1)
    ids = torch.randint(1, 40, (3, 12), generator=torch.Generator().manual_seed(0))
    mix = torch.randn(32, generator=torch.Generator().manual_seed(2))
    found = []
    for longest in (LONGEST, 0):
        monkeypatch.setattr("didact.learners.short_attention.LONGEST", longest)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
            hidden = model(ids)
        (hidden.float() @ mix).square().sum().backward()
        found.append([hidden.detach(), *(p.grad for p in model.parameters())])
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-5 * wanted.abs().max().item(), rtol=1e-4)


def test_where_it_is_taken():
    assert is_short(torch.zeros(1, LONGEST, 2))
    assert not is_short(torch.zeros(1, LONGEST + 1, 2))
    assert not is_short(torch.zeros(1, 3, 2, dtype=torch.bfloat16))
    assert not is_short(torch.zeros(1, 3, 2, device="meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_short(torch.zeros(1, 3, 2))
