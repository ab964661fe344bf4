"""The two sides of the sampling benchmark write the same tokens, on a small model."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_sampling_writes_the_tokens_of_generate(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("sampling", BENCHMARKS / "sampling.py")
    bench = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sampling", bench)
    spec.loader.exec_module(bench)
    work = bench.Work(layers=2, width=64, vocabulary=300, device="cpu", new=12)
    found = {
        "transformers generate": bench.generate(work, None),
        "didact Sampler": bench.sample(work, bench.sampler(work)),
    }
    bench.check(work, found)
    with pytest.raises(AssertionError, match="tokens differ"):
        bench.check(work, found | {"didact Sampler": found["didact Sampler"].roll(1, 1)})
