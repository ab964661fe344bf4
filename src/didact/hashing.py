"""Stable ids: 64-bit hashes of contents, and keyed hashes of ids in place of random numbers.

Contents are hashed with BLAKE2b, once, while data are loaded; the cells of a table's row are hashed one by one and then
mixed. Later draws for an example (its split, whether it keeps
its label) are keyed hashes of its id: functions of the id, the seed and a purpose, and so independent of the order and
number of other examples. That hash is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), computed on int64
tensors, whose products wrap around modulo 2^64.
"""

import itertools
import random
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor


def of_bytes(contents: Iterable[Any]) -> Tensor:
    """Hash contents by their bytes, with BLAKE2b to 8 bytes each.

    Args:
        contents: N bytes objects or contiguous arrays.

    Returns:
        int64 [N], over the whole range of int64.
    """
    digests = b"".join(blake2b(content, digest_size=8).digest() for content in contents)
    return torch.from_numpy(np.frombuffer(digests, dtype="<i8").astype(np.int64))


def of_strings(strings: Iterable[str]) -> Tensor:
    """Hash strings by their UTF-8 bytes; int64 [N]."""
    return of_bytes(string.encode(errors="replace") for string in strings)


def of_rows(rows: Tensor | np.ndarray) -> Tensor:
    """Hash every row of an array by its bytes.

    Zeros of either sign are equal, and so are all NaNs; different dtypes give different hashes.

    Args:
        rows: [N, ...], N rows of at least one element.

    Returns:
        int64 [N].
    """
    array = rows.numpy() if isinstance(rows, Tensor) else rows
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array + np.array(0, array.dtype))
    return of_bytes(np.ascontiguousarray(array).reshape(len(array), -1))


def of_columns(columns: Iterable[np.ndarray]) -> Tensor:
    """Hash rows whose cells are numbers or hashes already, one column after the other.

    Each cell is mixed, and the sum of a row's cells is weighted by the powers of an odd number, so that two rows have
    equal hashes with a chance of about 2^-64; this is no protection against rows that were made to collide.

    Args:
        columns: int64 [N] each, at least one; their order counts.

    Returns:
        int64 [N].
    """
    total = np.zeros(0, dtype=np.uint64)
    for column in itertools.chain(columns, (None,)):
        # As `mix`, but in place, which is several times as fast.
        cells = total if column is None else column.view(np.uint64).copy()
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            cells ^= cells >> np.uint64(shift)
            cells *= np.uint64(factor)
        if column is not None and len(total):
            total *= np.uint64(0x9E3779B97F4A7C15)
            cells += total
        total = cells
    return torch.from_numpy(total.view(np.int64))


def of_sequences(tokens: Tensor, place: Tensor, owner: Tensor, count: int) -> Tensor:
    """Hash sequences of tokens, all at once: the sum of their tokens' hashes, each mixed with its place.

    Args:
        tokens: int64 [N], the tokens of all sequences.
        place: int64 [N], the position of each in its sequence.
        owner: int64 [N], the sequence of each, from 0.
        count: the number of sequences, S.

    Returns:
        int64 [S]; two sequences have equal hashes with a chance of about 2^-64, unless they were made to.
    """
    total = torch.zeros(count, dtype=torch.int64, device=tokens.device)
    return mix(total.index_add_(0, owner, mix(tokens ^ mix(place + 1))))


def keyed_hash(ids: Tensor, seed: int, purpose: str) -> Tensor:
    """Hash ids with a key: another seed or purpose gives independent hashes.

    Args:
        ids: int64, any shape.
        seed: any integer.
        purpose: the purpose of the hash.

    Returns:
        int64, shaped as `ids`; uniform over the whole range for distinct ids.
    """
    salt = int.from_bytes(blake2b(f"{purpose}:{seed}".encode(), digest_size=8).digest(), "little", signed=True)
    return mix(mix(ids) ^ salt)


def uniform(ids: Tensor, seed: int, purpose: str) -> Tensor:
    """A number in [0, 1) for every id, from its keyed hash; float64, shaped as `ids`."""
    return logical_shift(keyed_hash(ids, seed, purpose), 11).double() * 2.0**-53


def stream(seed: int, name: str) -> int:
    """The seed of one of a run's streams of random numbers, such as its weights or its order.

    Streams with different seeds or names are independent, also those of neighbouring seeds.

    Args:
        seed: any integer, of the run or of another stream.
        name: the purpose of the stream.

    Returns:
        From 0 to 2^32 - 1: more bits are ignored by torch's generator of the CPU, and refused by scikit-learn.
    """
    digest = blake2b(f"stream {name}:{seed}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def sample(size: int, count: int) -> list[int]:
    """The positions of a fixed random sample of rows that may be ordered by kind; ascending, all if there are few.

    Args:
        size: the number of rows.
        count: the size of the sample.
    """
    return sorted(random.Random(0).sample(range(size), min(count, size)))


def logical_shift(bits: Tensor, by: int) -> Tensor:
    """Shift int64 right by 1 to 63 and fill with zeros; torch's own shift of signed numbers fills with the sign bit."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def mix(bits: Tensor) -> Tensor:
    """The finaliser of SplitMix64: a bijection of int64 in which each input bit affects half of the output bits."""
    bits = (bits ^ logical_shift(bits, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    bits = (bits ^ logical_shift(bits, 27)) * (0x94D049BB133111EB - 2**64)
    return bits ^ logical_shift(bits, 31)
