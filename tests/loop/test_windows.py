"""What monitors see and what is written depends on the steps alone, not on the clock or on where a run was stopped."""

import itertools
import json
import math
import time
from types import SimpleNamespace

import pytest
import torch

from conftest import make_method, net, quiet_fit
from didact.learners import ModuleLearner
from didact.loop import Budget, Validation, engine, training_state
from didact.loop.checkpoint import list_checkpoints, load_checkpoint
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource
from didact.types import Method, Verdict

STEPS = 95


class Watcher:
    """Keeps all that it is shown; a `Monitor` with a state."""

    def __init__(self):
        self.seen = []

    def observe(self, window):
        probed = None if window.probe is None else float(window.probe().logits.double().sum())
        # As words, as figures that are missing are NaN.
        shown = {name: str(values.tolist()) for name, values in window.losses.items()}
        self.seen.append([window.step, shown, window.grad_norm.tolist(), window.finite, probed])
        return Verdict("warn", "Watcher", float(window.step), "It saw something.")

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def planted_clock(monkeypatch, seconds):
    """A clock that goes on by so many seconds each time that someone looks at it."""
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks) * seconds, perf_counter=time.perf_counter)
    for module in (engine, training_state):
        monkeypatch.setattr(module, "time", clock)


def go(problem, directory, *, steps=STEPS, resume=False):
    method, watcher = make_method("fitnet", dropout=0.3), Watcher()
    result = quiet_fit(
        method,
        BatchSource(problem, batch_size=20, seed=3),
        budget=Budget(steps=steps),
        monitors=[watcher],
        validation=Validation(lambda student: {"accuracy": float(student(problem.batch()).logits.detach().mean())}),
        evaluate_every=15,
        log_every=4,
        run=directory,
        device="cpu",
        resume=resume,
    )
    return result, watcher.seen


def stopped_at(monkeypatch, step):
    """Ask the run to end at a step, as a signal does."""
    made, agree = engine.Engine.agree, lambda self, stop: (self.cost.steps == step, made(self, stop)[1])
    monkeypatch.setattr(engine.Engine, "agree", agree)


def written(directory, name):
    """The records of a file, without times."""
    lines = map(json.loads, (directory / name).read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture
def calm(problem, run_directory):
    """What monitors see in a run that is left alone, and its directory."""
    result, seen = go(problem, run_directory)
    assert result.status == "done"
    assert [window[0] for window in seen] == [*range(4, STEPS, 4), STEPS]
    assert [window[0] for window in seen if window[-1] is not None] == [4, 44, 84]
    assert [record["step"] for record in result.history if "eval/accuracy" in record] == [*range(0, STEPS, 15), STEPS]
    return seen, run_directory


@pytest.mark.parametrize("seconds", [engine.CHECKPOINT_SECONDS / 2, engine.CHECKPOINT_SECONDS / 3, 100.0])
def test_a_slower_clock_writes_more_checkpoints_and_changes_nothing(calm, problem, tmp_path, monkeypatch, seconds):
    seen, directory = calm
    planted_clock(monkeypatch, seconds)
    saved = []
    monkeypatch.setattr(engine.ckpt, "save_numbered", lambda _folder, step, *_a, **_k: saved.append(step))
    _, found = go(problem, tmp_path / "slow")
    assert len(saved) > 20
    assert found == seen
    for name in ("metrics.jsonl", "verdicts.jsonl"):
        assert written(tmp_path / "slow", name) == written(directory, name)


@pytest.mark.parametrize("steps", [STEPS, 90])
def test_three_stops_leave_no_trace(problem, tmp_path, monkeypatch, steps):
    cut, directory = tmp_path / "cut", tmp_path / "calm"
    _, seen = go(problem, directory, steps=steps)
    for step in (6, 30, 61):
        with monkeypatch.context() as patch:
            stopped_at(patch, step)
            result, _ = go(problem, cut, steps=steps, resume=step > 6)
            assert (result.status, result.steps) == ("interrupted", step)
    for _ in range(3):
        result, found = go(problem, cut, steps=steps, resume=True)
        assert (result.status, result.steps) == ("done", steps)
        assert found == seen
        assert [step for step, _ in result.verdicts] == [window[0] for window in seen]
        for name in ("metrics.jsonl", "verdicts.jsonl"):
            assert written(cut, name) == written(directory, name)
        assert len(result.history) == len(written(cut, "metrics.jsonl"))


def test_a_run_that_ended_before_its_first_step_is_evaluated_once(calm, problem, tmp_path, monkeypatch):
    _, directory = calm
    cut = tmp_path / "cut"

    def killed(_self):
        raise RuntimeError("killed")

    for again in range(4):
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
            patch.setattr(Method, "after_step", killed)
            go(problem, cut, resume=again > 0)
        assert not list_checkpoints(cut / "checkpoints")
        assert [record["step"] for record in written(cut, "metrics.jsonl")] == [0]
    go(problem, cut, resume=True)
    assert written(cut, "metrics.jsonl") == written(directory, "metrics.jsonl")


class RollsBack:
    """A monitor that objects once, at a step."""

    action = "roll_back"

    def __init__(self, at):
        self.at = at

    def observe(self, window):
        level = "roll_back" if window.step in self.at else "ok"
        return Verdict(level, "RollsBack", 0.0, "It was asked to.")


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_rolling_back_goes_to_before_the_window(problem, run_directory, keep):
    loaded = []

    class Spy(Supervised):
        def load_state_dict(self, state):
            loaded.append((self.step + 1, state["learner"]["module.0.weight"]))
            super().load_state_dict(state)

    weights = {}

    class Notes(Spy):
        def after_step(self):
            weights[self.step + 1] = self.learner.module[0].weight.detach().clone()

    result = quiet_fit(
        Notes(Config(), ModuleLearner(net())),
        BatchSource(problem, batch_size=20),
        budget=Budget(steps=60),
        monitors=[RollsBack((40, 50))],
        log_every=10,
        checkpoint_every=3,
        keep_checkpoints=keep,
        run=run_directory,
    )
    assert result.status == "done"
    # The checkpoints of steps 33 to 39 are of the weights that are objected to, those of 42 to 48 too.
    assert [step for step, _ in loaded] == [40, 50]
    assert all((weight == weights[30]).all() for _, weight in loaded)
    assert load_checkpoint(run_directory / "checkpoints")["ledger"]["cost"]["steps"] == 60


def test_a_mean_of_infinities_of_both_signs_is_no_number():
    values = torch.tensor([math.inf, 1.0, math.nan], dtype=torch.float64)
    assert engine._mean(values) == math.inf
    assert math.isnan(engine._mean(torch.tensor([math.inf, -math.inf], dtype=torch.float64)))
    assert engine._mean(torch.tensor([1.0, math.nan, 4.0], dtype=torch.float64)) == 2.5


def test_a_part_that_is_kept_in_evaluation_mode_stays_in_it_when_it_is_looked_at(problem):
    method = make_method("supervised")
    frozen = method.learner.module[2]

    class Keeps(Supervised):
        def loss(self, batch):
            frozen.eval()
            return super().loss(batch)

    seen = []

    class Looks:
        def observe(self, window):
            if window.probe is not None:
                window.probe()
                seen.append((frozen.training, method.learner.training))
            return Verdict("ok", "looks", 0.0, "It looked.")

    made = Keeps(Config(), method.learner)
    quiet_fit(made, BatchSource(problem, batch_size=20), budget=Budget(steps=4), monitors=[Looks()], log_every=2)
    assert seen == [(False, True)]
