from hashlib import blake2b

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import hashing

INT64 = st.integers(-(2**63), 2**63 - 1)


def slow_mix(value):
    """SplitMix64's finaliser on unbounded integers."""
    value %= 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


@settings(max_examples=50, deadline=None)
@given(st.lists(INT64, min_size=1, max_size=8))
def test_mix_is_that_of_unbounded_integers(values):
    mixed = hashing.mix(torch.tensor(values))
    assert [m % 2**64 for m in mixed.tolist()] == [slow_mix(v) for v in values]


def test_mix_gives_the_first_numbers_of_the_published_generator():
    # java.util.SplittableRandom with seed 0: the finaliser of the multiples of the golden gamma.
    gammas = torch.tensor([0x9E3779B97F4A7C15 - 2**64, (2 * 0x9E3779B97F4A7C15) % 2**64])
    assert [m % 2**64 for m in hashing.mix(gammas).tolist()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@settings(max_examples=30, deadline=None)
@given(INT64, st.integers(0, 2**40), st.text(max_size=5))
def test_uniform_follows_from_the_keyed_hash(value, seed, purpose):
    salt = int.from_bytes(blake2b(f"{purpose}:{seed}".encode(), digest_size=8).digest(), "little")
    expected = (slow_mix(slow_mix(value) ^ salt) >> 11) / 2**53
    assert hashing.uniform(torch.tensor([value]), seed, purpose).item() == expected
    assert 0 <= expected < 1


def test_uniform_fills_the_interval_evenly_and_seeds_are_unrelated():
    ids = torch.arange(20_000)
    one, other = hashing.uniform(ids, 0, "a"), hashing.uniform(ids, 1, "a")
    counts = torch.histc(one, 20, 0, 1)
    chi_square = ((counts - 1000) ** 2 / 1000).sum().item()
    assert chi_square < 43.8  # the 99.9% point of 19 degrees of freedom
    assert abs(np.corrcoef(one.numpy(), other.numpy())[0, 1]) < 4 / 20_000**0.5


def test_rows_are_hashed_by_their_bytes():
    rows = np.array([[1.5, -2.0], [3.0, 4.0]], dtype=np.float32)
    expected = [int.from_bytes(blake2b(r.tobytes(), digest_size=8).digest(), "little", signed=True) for r in rows]
    assert hashing.of_rows(rows).tolist() == expected
    assert hashing.of_rows(torch.from_numpy(rows)).tolist() == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([0.0, 1.0], [-0.0, 1.0], True),
        ([np.nan, 1.0], [-np.nan, 1.0], True),
        ([0.0, 1.0], [1.0, 0.0], False),
        ([np.nan, 1.0], [0.0, 1.0], False),
    ],
)
def test_equal_numbers_have_equal_hashes(one, other, same):
    first, second = hashing.of_rows(np.array([one, other])).tolist()
    assert (first == second) is same


def test_strings_are_hashed_by_their_utf8_bytes():
    expected = int.from_bytes(blake2b("naïve".encode(), digest_size=8).digest(), "little", signed=True)
    assert hashing.of_strings(["naïve"]).tolist() == [expected]
    assert hashing.of_strings([]).shape == (0,)


def test_rows_of_columns_are_a_weighted_sum_of_mixed_cells():
    columns = np.random.default_rng(0).integers(-(2**63), 2**63, (3, 50), dtype=np.int64)
    whole, odd = 2**64, 0x9E3779B97F4A7C15

    expected = []
    for row in columns.T.tolist():
        total = 0
        for cell in row:
            total = (total * odd + slow_mix(cell)) % whole
        expected.append((slow_mix(total) + 2**63) % whole - 2**63)
    assert hashing.of_columns(columns).tolist() == expected
    assert torch.equal(hashing.of_columns(columns[:1]), hashing.mix(hashing.mix(torch.from_numpy(columns[0]))))


def test_small_floats_do_not_collide():
    numbers = np.arange(64.0).view(np.int64)
    grid = [part.ravel() for part in np.meshgrid(numbers, numbers, numbers)]
    assert hashing.of_columns(grid).unique().numel() == 64**3
