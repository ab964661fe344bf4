"""Rounds: how they are cut into batches, what a resumed run finds, and what begins anew at their boundaries."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import quiet_fit
from didact.curricula import Uniform
from didact.errors import ConfigError, DataError
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.losses.labels.supervised import cross_entropy
from didact.sources import Rounds
from didact.types import Batch, ExampleFeed, Method, Terms

QUIET = {"monitors": [], "device": "cpu", "log_every": 1}


class Actor:
    """Who notes in which round it was asked, and after how many steps."""

    def __init__(self):
        self.round = self.version = 0
        self.noted = []

    def state_dict(self):
        return {"noted": self.noted}

    def load_state_dict(self, state):
        self.noted = [list(pair) for pair in state["noted"]]


def tenfold(positions, actor):
    """Rows of which each says its round and its place in it, as 10 * round + place; as many as positions."""
    actor.noted.append([actor.round, actor.version])
    return Batch({"id": 10 * actor.round + torch.arange(len(positions)), "position": positions})


def rounds(size=6, seed=0, curriculum=None, **options):
    curriculum = Uniform(100, seed) if curriculum is None else curriculum
    return Rounds(curriculum, Actor(), tenfold, size=size, seed=seed, **options)


def ids(source, count):
    return [batch["id"].tolist() for batch in itertools.islice(source, count)]


def test_a_single_pass_keeps_the_order_in_which_rows_were_collected():
    assert ids(rounds(size=7, minibatches=3), 4) == [[0, 1, 2], [3, 4, 5], [6], [10, 11, 12]]
    assert ids(rounds(size=2), 2) == [[0, 1], [10, 11]]


def test_each_of_several_passes_goes_over_all_rows_in_an_order_of_its_own():
    source = rounds(epochs=3, minibatches=2)
    passes = [list(itertools.chain(*ids(source, 2))) for _ in range(6)]
    assert all(sorted(one) == list(range(6)) for one in passes[:3])
    assert all(sorted(one) == list(range(10, 16)) for one in passes[3:])
    assert len({tuple(place % 10 for place in one) for one in passes}) == 6
    again = rounds(epochs=3, minibatches=2)
    assert [list(itertools.chain(*ids(again, 2))) for _ in range(6)] == passes
    assert source.actor.noted == [[0, 0], [1, 6]]


def test_what_comes_next_is_what_the_curriculum_says():
    expected = Uniform(100, 5)
    positions = [expected.sample(4).tolist() for _ in range(3)]
    found = [batch["position"].tolist() for batch in itertools.islice(rounds(size=4, seed=5), 3)]
    assert found == positions
    named = Rounds(Uniform(3, 1), Actor(), lambda items, _: Batch({"id": torch.tensor(items)}), size=3, data=[7, 8, 9])
    assert sorted(next(iter(named))["id"].tolist()) == [7, 8, 9]


@pytest.mark.parametrize("options", [{}, {"epochs": 2, "minibatches": 3}, {"epochs": 3}])
def test_a_stream_that_takes_its_state_back_goes_on_with_the_same_rows(options):
    whole = rounds(**options)
    expected = [dict(batch) for batch in itertools.islice(whole, 14)]
    for stop in range(14):
        first = rounds(**options)
        ids(first, stop)
        again = rounds(seed=9, **options)
        again.load_state_dict(first.state_dict())
        for wanted, found in zip(expected[stop:], again, strict=False):
            assert all(torch.equal(found[key], wanted[key]) for key in wanted)
        assert again.actor.noted == whole.actor.noted
        assert (again.actor.round, again.actor.version) == (whole.actor.round, whole.actor.version)


def test_a_boundary_is_told_with_the_first_batch_behind_it():
    source = rounds(epochs=2, minibatches=2)
    assert [source.boundary for _ in itertools.islice(source, 9)] == [False] * 4 + [True] + [False] * 3 + [True]


def test_rounds_that_cannot_work_are_refused():
    for name in ("size", "epochs", "minibatches"):
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            rounds(**{name: 0})
    with pytest.raises(ConfigError, match="restart is 'all'"):
        rounds(restart="all")
    with pytest.raises(ConfigError, match="object, which has no state_dict"):
        rounds(curriculum=object())
    empty = Rounds(None, Actor(), lambda _, __: Batch({"id": torch.arange(0)}), size=1)
    with pytest.raises(DataError, match="Round 0 has no rows"):
        next(iter(empty))


# ---- beginning anew


class Fit(Method):
    """Fits labels, and notes what it knows when a round is collected."""

    feed = ExampleFeed()

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.learner = ModuleLearner(nn.Linear(3, 2))

    def loss(self, batch):
        return Terms(label=cross_entropy(self.learner(batch).logits, batch["label"]))


def drawn(round_):
    """Rows that no other round has."""
    generator = torch.Generator().manual_seed(round_)
    x = torch.randn(8, 3, generator=generator)
    return Batch({"id": torch.arange(8), "x": x, "label": torch.randint(2, (8,), generator=generator)})


STEPS = 7
"""Two rounds of three steps, and the first step of another."""


def bare(restart):
    """The same in a few lines of PyTorch."""
    net = Fit().learner.module
    began = {key: value.clone() for key, value in net.state_dict().items()}

    def fresh():
        return torch.optim.AdamW(net.parameters(), lr=0.1, betas=(0.9, 0.999), weight_decay=0.01, fused=True)

    optimizer = fresh()
    for step in range(STEPS):
        if step in (3, 6):
            optimizer = fresh() if restart != "no" else optimizer
            if restart == "student":
                net.load_state_dict(began)
        batch = drawn(step // 3)
        optimizer.zero_grad()
        F.cross_entropy(net(batch["x"]), batch["label"]).backward()
        optimizer.step()
    return net


@pytest.mark.parametrize("restart", ["no", "optimizer", "student"])
@pytest.mark.parametrize("stopped", [None, 2, 3, 4])
def test_what_is_restarted_begins_anew_at_each_round_but_the_first(restart, stopped, tmp_path):
    options = {"optimizer": OptimizerConfig(lr=0.1, schedule="constant"), **QUIET}

    def go(steps, **more):
        method = Fit()
        # Each of the three steps takes the same rows.
        source = Rounds(
            None, Actor(), lambda _, actor: thrice(drawn(actor.round)), size=1, minibatches=3, restart=restart
        )
        quiet_fit(method, source, budget=Budget(steps=steps), **options, **more)
        return method

    if stopped is None:
        method = go(STEPS)
    else:
        go(stopped, run=tmp_path / "run", checkpoint_every=1)
        method = go(STEPS, run=tmp_path / "run", checkpoint_every=1, resume=True)
    for mine, theirs in zip(method.learner.module.parameters(), bare(restart).parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def thrice(batch):
    return Batch({key: torch.cat([tensor] * 3) for key, tensor in batch.items()})


def test_a_round_is_collected_with_the_share_of_the_budget_that_is_used():
    method, seen = Fit(), []

    def collect(_, actor):
        seen.append((method.step, method.fraction))
        return drawn(actor.round)

    quiet_fit(method, Rounds(None, Actor(), collect, size=1, minibatches=2), budget=Budget(steps=8), **QUIET)
    assert seen == [(0, 0.0), (2, 0.25), (4, 0.5), (6, 0.75)]
