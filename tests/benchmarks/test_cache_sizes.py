"""The scheme that the cache's bytes and divergences are printed beside, against its definition."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def cache(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("cache", BENCHMARKS / "cache.py")
    bench = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cache", bench)
    spec.loader.exec_module(bench)
    return bench


def test_bytes_a_token_are_those_that_are_published(cache):
    """Of a vocabulary of 16 bits: 1 x 2 + 3 x 4 + 50 x 2, and 16 x 2 + 6 x 4 + 128 x 2."""
    assert [scheme.bytes(49_152) for scheme in cache.DISTILLKIT] == [114, 312]
    assert [scheme.bytes(32_768) for scheme in cache.DISTILLKIT] == [108, 296]


def test_the_tail_is_the_least_squares_fit(cache):
    draw = torch.randn(4, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    log_probs = draw.log_softmax(-1)
    for scheme in cache.DISTILLKIT:
        found = scheme.stored(log_probs)
        for row, values in zip(log_probs.numpy(), found.log_probs.numpy(), strict=True):
            top = np.sort(row)[::-1][: scheme.kept]
            x = np.arange(scheme.kept - scheme.exact, dtype=np.float64)
            terms = np.stack([x**power for power in scheme.powers], 1)
            wanted = terms @ (np.linalg.pinv(terms) @ top[scheme.exact :])
            assert values[scheme.exact :] == pytest.approx(wanted, abs=2e-3)
            assert values[: scheme.exact] == pytest.approx(top[: scheme.exact], rel=2**-8)
        assert found.tail == pytest.approx(1 - found.log_probs.exp().sum(-1).clamp(max=1), abs=1e-6)
