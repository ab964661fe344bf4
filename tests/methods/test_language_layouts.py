"""Counts are taken from weights: rows that keep their padding, as on a GPU, give the same loss and gradient."""

import copy

import pytest
import torch

from contract import of, ready
from didact.losses.policy.selection import informative_tokens, sample_in_band, top_share
from didact.losses.tokens import rows
from didact.losses.tokens.rows import locate_tokens
from didact.types import Batch

DRAWN = {"clip_cov": {"share": 1.0, "band_low": 0.0, "band_high": 1e9}, "d3s": {"choose": "informative"}}
"""Options with which nothing is drawn, where draws depend on the layout."""


def parts(method, batch):
    """The terms, the counts of those that are looked at too, and the gradient."""
    method = copy.deepcopy(method)
    torch.manual_seed(0)
    terms = method.loss(batch)
    means = {name: float(term.mean().detach()) for name, term in terms.items()}
    counts = {name: float(torch.as_tensor(term.count).detach()) for name, term in terms.items()}
    terms.total().backward()
    return means, counts, [p.grad for p in method.parameters()]


@pytest.mark.parametrize("name", of("questions"))
def test_padding_changes_neither_loss_nor_gradient(name, monkeypatch):
    prepared = ready(name, **DRAWN.get(name, {}))
    batch, method = next(iter(prepared.source)), prepared.method
    method.fraction = 0.5
    plain = parts(method, batch)
    monkeypatch.setattr(rows, "_picked", rows._weighed)
    assert locate_tokens(batch).weight is not None
    padded = parts(method, batch)
    assert padded[0] == pytest.approx(plain[0], rel=1e-4, abs=1e-6)
    assert padded[1] == pytest.approx(plain[1], rel=1e-6)
    for mine, theirs in zip(padded[2], plain[2], strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


def test_the_layout_of_a_gpu_is_the_one_that_is_tested():
    mask = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 0]], dtype=torch.bool)
    ids = torch.arange(8).view(2, 4)
    whole = rows._weighed(mask)
    assert whole[0].tolist() == [1, 2, 3, 5, 6, 7]
    assert whole[1] is not None
    assert whole[1].tolist() == [0, 1, 1, 1, 0, 0]
    assert locate_tokens(Batch({"input_ids": ids, "completion_mask": mask, "id": ids[:, 0]})).targets.tolist() == [
        2,
        3,
        5,
    ]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.34, 1.0])
def test_a_share_is_one_of_the_tokens_that_count(share):
    """With nine places of padding to each token, the very tokens are chosen that are chosen without."""
    generator = torch.Generator().manual_seed(0)
    values, draws = 4.0 * torch.rand(50, generator=generator), torch.rand(50, generator=generator)
    wide, spread, weight = torch.full((500,), 9.0), torch.zeros(500), torch.zeros(500)
    kept = torch.arange(0, 500, 10)
    wide[kept], spread[kept], weight[kept] = values, draws, 1.0
    found = top_share(wide, share, weight)
    assert torch.equal(found[kept], top_share(values, share))
    assert not found[weight == 0].any()
    assert int(found.sum()) == (max(1, int(share * 50)) if share else 0)
    band = sample_in_band(wide, share, 1.0, 10.0, spread, weight)
    assert torch.equal(band[kept], sample_in_band(values, share, 1.0, 10.0, draws))
    assert not band[weight == 0].any()
    told = informative_tokens(wide, wide, share, weight)
    assert torch.equal(told[kept], informative_tokens(values, values, share))
