"""Freed memory is the system's again where weights are large, and stays in the heap otherwise."""

import ctypes
import multiprocessing
import sys

import pytest
import torch

from didact.loop.devices import LARGE_BLOCK, MANY_WEIGHTS, blocks_returned, heap_kept, resident_memory

CPU = torch.device("cpu")
MIB = 1 << 20


def holes(weights, pipe):
    """Send how much the process shrinks when every other block of 2 MiB is freed, and when the context ends."""
    torch.empty(30 * MIB, dtype=torch.uint8)  # once this is freed, glibc takes smaller ones from the heap
    with blocks_returned(weights, CPU):
        blocks = [torch.ones(2 * MIB, dtype=torch.uint8) for _ in range(100)]
        before = resident_memory(CPU)
        del blocks[::2]
        inside = before - resident_memory(CPU)
    del blocks
    blocks = [torch.ones(2 * MIB, dtype=torch.uint8) for _ in range(100)]
    before = resident_memory(CPU)
    del blocks[::2]
    pipe.send((inside, before - resident_memory(CPU)))


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_blocks_are_given_back_where_weights_are_large():
    found = {}
    for weights in (MANY_WEIGHTS, MANY_WEIGHTS - 1):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=holes, args=(weights, theirs))
        process.start()
        found[weights] = ours.recv()
        process.join()
    assert found[MANY_WEIGHTS][0] > 90 * MIB
    assert all(shrunk < 10 * MIB for shrunk in (found[MANY_WEIGHTS][1], *found[MANY_WEIGHTS - 1]))


def test_what_may_be_kept_is_twice_the_largest_block_of_the_heap():
    assert heap_kept(MANY_WEIGHTS) == 2 * LARGE_BLOCK
    assert heap_kept(MANY_WEIGHTS - 1) == 64 * MIB
