"""The two sides of each benchmark do the same work, on a small part of it."""

import importlib.util
import itertools
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    def load(name):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    load("harness")
    return load


@pytest.mark.parametrize(("net", "shape"), [("mlp", (64,)), ("convolutional", (1, 28, 28))])
def test_the_loop_ends_with_the_weights_of_a_bare_loop(load, net, shape):
    bench = load("loop_overhead")
    module = bench.mlp if net == "mlp" else partial(bench.convolutional, 4)
    # More steps than a pass has, and more than the loop takes between two looks at the losses.
    work = bench.Work(module=module, shape=shape, examples=192, batch_size=16, steps=55, device="cpu")
    bare = bench.bare_run(work, bench.bare_prepare(work))
    ours = bench.didact_run(work, bench.didact_prepare(work))
    bench.check({"bare PyTorch": bare, "didact.fit": ours})
    before = work.start()[0].state_dict()
    assert all(not torch.equal(before[name], weights) for name, weights in bare.items())


def test_gathering_hands_over_the_same_examples(load):
    bench = load("data")
    sides = {"DataLoader": bench.loader(bench.TensorDataset(*bench.tensors()), 0), "BatchSource": bench.ours("none")}
    steps = -(-bench.COUNT // bench.BATCH_SIZE)
    bench.check_gathered({name: list(itertools.islice(batches, steps)) for name, batches in sides.items()})


def test_augmenting_moves_images_as_far(load):
    bench = load("data")
    steps = -(-bench.COUNT // bench.BATCH_SIZE)
    torch.manual_seed(0)
    theirs = list(bench.loader(bench.Moved(), 0))
    bench.check_moved({"DataLoader": theirs, "BatchSource": list(itertools.islice(bench.ours("weak"), steps))})
    with pytest.raises(AssertionError, match="standard errors"):
        bench.check_moved({"DataLoader": theirs, "BatchSource": list(itertools.islice(bench.ours("strong"), steps))})


def test_operations_on_images_have_the_distribution_of_kornia(load):
    pytest.importorskip("kornia")
    bench = load("views")
    x, generator = bench.images(256), torch.Generator().manual_seed(0)
    made = bench.kornia_operations()
    assert list(made) == [change.__name__ for change in (*bench.ours.MOVES, *bench.ours.COLOURS)]
    torch.manual_seed(0)
    for number, (name, module) in enumerate(made.items()):
        found = bench.one_operation(number, x, generator)
        bench.agree(name, x, found, module(x))
        if name != "same":
            with pytest.raises(AssertionError, match="standard errors"):
                bench.agree(name, x, found, x)


def test_tables_become_the_same_numbers_and_answers(load, tmp_path):
    bench = load("tables")
    path = bench.write_table(3_000, tmp_path)
    for sides in (("pandas and scikit-learn", "didact"), ("pandas and a bare net", "didact predict")):
        bench.check({side: bench.WORK[side](path).detach().numpy() for side in sides})
