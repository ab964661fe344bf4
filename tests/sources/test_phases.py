"""Sources one after the other: which comes when, what is told at a boundary, and resuming within a phase."""

import itertools

import pytest
import torch

from conftest import net, planted, quiet_fit
from didact.curricula import SelfPaced
from didact.errors import CheckpointError, ConfigError
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.methods.supervised import supervised
from didact.sources import BatchSource, Phases
from didact.types import Source, Stateful


def sources_of(*sizes, batch_size=4, seed=0):
    return [BatchSource(planted(size, seed=k), batch_size=batch_size, seed=seed) for k, size in enumerate(sizes)]


def take(source, count):
    return list(itertools.islice(source, count))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_phases_follow_each_other_after_their_steps():
    source = Phases(sources_of(12, 20, 8), steps=[2, 3])
    seen = []
    for batch in itertools.islice(source, 9):
        seen.append((int(batch["task_id"][0]), source.boundary))
    assert seen == [(0, False)] * 2 + [(1, True)] + [(1, False)] * 2 + [(2, True)] + [(2, False)] * 3
    assert (source.epoch_size, source.label_count) == (40, 40)


def test_phases_follow_each_other_after_passes_over_their_own_data():
    source = Phases(sources_of(10, 20, 8), epochs=2)
    # Passes end with a smaller batch: 4, 4, 2 of ten examples.
    assert [int(batch["task_id"][0]) for batch in take(source, 18)] == [0] * 6 + [1] * 10 + [2] * 2


def test_batches_are_those_of_their_sources_at_rows_of_their_own():
    one, other = sources_of(12, 20), sources_of(12, 20)
    phases = take(Phases(one, steps=3), 8)
    plain = take(other[0], 3) + take(other[1], 5)
    for found, expected in zip(phases, plain, strict=True):
        offset = 12 if int(found["task_id"][0]) else 0
        assert torch.equal(found["row"], expected["row"] + offset)
        assert all(torch.equal(found[key], expected[key]) for key in expected if key != "row")


def test_the_same_examples_have_the_same_rows():
    again = [BatchSource(planted(12), batch_size=4, seed=s) for s in (0, 1)]
    batches = take(Phases([*again, *sources_of(12, 20)[1:]], steps=3), 9)
    for batch in batches[:6]:
        assert torch.equal(batch["id"], batch["row"] + 1000)
    assert torch.cat([batch["row"] for batch in batches[6:]]).min() >= 12


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("length", [{"steps": 3}, {"epochs": 1}])
def test_it_is_resumed_within_a_phase(before, length):
    source, resumed = Phases(sources_of(12, 20), **length), Phases(sources_of(12, 20, seed=9), **length)
    assert isinstance(source, Stateful)
    take(source, before)
    take(resumed, 5)
    resumed.load_state_dict(source.state_dict())
    for one, other in zip(take(source, 6), take(resumed, 6), strict=True):
        assert same(one, other)
    assert source.boundary == resumed.boundary


def test_each_source_hears_of_its_own_examples():
    heard = [], []

    class Hearing(SelfPaced):
        def update(self, index, progress):
            self.told.append((index.tolist(), progress.tolist()))
            super().update(index, progress)

    made = []
    for k, size in enumerate((12, 20)):
        curriculum = Hearing(size)
        curriculum.told = heard[k]
        made.append(BatchSource(planted(size, seed=k), batch_size=4, curriculum=curriculum))
    source = Phases(made, steps=2)
    for batch in itertools.islice(source, 4):
        assert source.uses_feedback
        source.feedback(batch, {"total": batch["id"].float()})
    for told in heard:
        assert len(told) == 2
        assert all(progress == [1000.0 + i for i in index] for index, progress in told)


class Noted(supervised.Supervised):
    """Notes how phases begin."""

    def __init__(self, *args):
        super().__init__(*args)
        self.noted = []

    def begin_phase(self, phase):
        self.noted.append((phase, self.step, self.learner.module[0].weight.detach().clone()))


def taught(restart, steps=7):
    method = Noted(supervised.Config(), ModuleLearner(net()))
    options = {"optimizer": OptimizerConfig(lr=0.05, schedule="constant"), "device": "cpu"}
    quiet_fit(method, Phases(sources_of(12, 20, 8), steps=3, restart=restart), budget=Budget(steps=steps), **options)
    return method


@pytest.mark.parametrize("restart", ["no", "optimizer", "student"])
def test_the_method_is_told_before_anything_begins_anew(restart):
    method = taught(restart)
    assert [(phase, step) for phase, step, _ in method.noted] == [(1, 3), (2, 6)]
    # What it saw is the student as the phase before left it.
    assert torch.equal(method.noted[0][2], taught("no", steps=3).learner.module[0].weight)
    begun = net()[0].weight
    last = (method.learner.module[0].weight - begun).abs().max()
    # One step of AdamW moves a weight by no more than the learning rate, but for the decay.
    assert (last < 0.06) == (restart == "student")


def test_a_run_is_resumed_in_the_second_phase_to_the_bit(tmp_path):
    def go_on(steps, *, resume=False):
        method = supervised.Supervised(supervised.Config(), ModuleLearner(net(dropout=0.3)))
        source = Phases(sources_of(12, 20), steps=3, restart="optimizer")
        options = {"optimizer": OptimizerConfig(lr=0.05, schedule="constant"), "device": "cpu"}
        run = tmp_path / ("whole" if steps == 9 and not resume else "cut")
        quiet_fit(method, source, budget=Budget(steps=steps), run=run, resume=resume, **options)
        return method.learner.module[0].weight

    whole = go_on(9)
    go_on(5)
    assert torch.equal(whole, go_on(9, resume=True))


class Stateless:
    epoch_size = 0

    def __iter__(self):
        return iter(())


class Endless(Stateless):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ((12,), {"steps": 3}, "sources has 1 of them"),
        ((12, 20), {}, "steps is None and epochs is None"),
        ((12, 20), {"steps": 3, "epochs": 1}, "give one"),
        ((12, 20), {"steps": 0}, "steps is 0"),
        ((12, 20), {"steps": [3, 4]}, r"steps is \[3, 4\], but there are 2 phases"),
        ((12, 20), {"epochs": 0.0}, "epochs is 0"),
        ((12, 20), {"steps": 3, "restart": "all"}, "restart is 'all'"),
        ((Stateless(), 20), {"steps": 3}, "sources has a Stateless, which has no state_dict"),
        ((Endless(), 20), {"epochs": 1}, "a Endless has no passes to count"),
    ],
)
def test_what_cannot_work_is_refused(given, options, message):
    made: list[Source] = [sources_of(g)[0] if isinstance(g, int) else g for g in given]
    with pytest.raises(ConfigError, match=message):
        Phases(made, **options)


def test_a_state_of_other_phases_is_refused():
    state = Phases(sources_of(12, 20), steps=3).state_dict()
    with pytest.raises(CheckpointError, match=r"2 phases of \[3\] batches, but there are 2 of \[4\] here"):
        Phases(sources_of(12, 20), steps=4).load_state_dict(state)
