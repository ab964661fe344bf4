"""What is trained before a run is trained by the same loop: with checkpoints, a cost, and a goal where one is set."""

import json
import os
import signal

import pytest
import torch

import didact
from blobs import DATA, QUICK, blobs
from didact.errors import ConfigError, PausedError, RunError
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.experiment.preparing import prepare
from didact.loop import RunDirectory
from didact.loop.checkpoint import list_checkpoints
from didact.materials.examples import pretraining
from didact.methods.language.sft import SFT
from didact.methods.supervised.supervised import Supervised
from didact.types import IGNORE

STILL = {**QUICK, "steps": 2, "lr": 1e-9}
RECORDS = [{"prompt": f"{a}+{b}=", "answer": str(a + b), "completion": str(a + b)} for a in range(6) for b in range(6)]


class KilledError(Exception):
    """What ends a process before its time."""


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def killed_at(monkeypatch, method, step):
    """Kill the first training by that method at a step, and count the steps of those that come after."""
    seen, made = [], method.after_step

    def after_step(self):
        seen.append(self.step)
        if self.step == step and seen.count(step) == 1:
            raise KilledError
        made(self)

    monkeypatch.setattr(method, "after_step", after_step)
    return seen


def hung_up_at(monkeypatch, method, step):
    """Close the terminal in the first training by that method, once."""
    made, left = method.after_step, [step]

    def after_step(self):
        if self.step in left:
            left.clear()
            os.kill(os.getpid(), signal.SIGHUP)
        made(self)

    monkeypatch.setattr(method, "after_step", after_step)


@pytest.mark.parametrize("part", ["teacher", "student"])
def test_a_training_before_a_run_goes_on_where_it_was_hung_up_to_the_bit(tmp_path, monkeypatch, part):
    settings = {**QUICK, "method": "distill", "teacher": "mlp:6", "teacher_epochs": 20}
    settings |= {"teacher": "random", "student": "warm:60:mlp:8"} if part == "student" else {}
    whole = didact.run(**settings, directory=tmp_path / "whole")
    hung_up_at(monkeypatch, Supervised, 37)
    with pytest.raises(
        KeyboardInterrupt, match=f"Interrupted in the training.*Continue with: didact resume {tmp_path}"
    ):
        didact.run(**settings, directory=tmp_path / "cut")
    (training,) = (tmp_path / "cut" / "teachers").iterdir()
    assert [path.name for path in list_checkpoints(training / "checkpoints")] == ["step-0000000038", "step-0000000001"]
    again = didact.resume(tmp_path / "cut", data=DATA, progress=False)
    assert same(again.learner, whole.learner)
    assert again.metrics == whole.metrics
    assert again.teacher_cost.steps == whole.teacher_cost.steps


def test_a_full_disk_in_a_training_before_a_run_tells_how_the_run_goes_on(tmp_path, monkeypatch):
    settings = {**QUICK, "method": "distill", "teacher": "mlp:6", "teacher_epochs": 1, "log_every": 10}
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "log", full)
        with pytest.raises(PausedError, match=r"No space left on device") as caught:
            didact.run(**settings, directory=tmp_path / "run")
    assert str(caught.value).endswith(f"then go on with: didact resume {tmp_path / 'run'}")
    assert didact.resume(tmp_path / "run", data=DATA, progress=False).status == "done"


def full(_directory, _record):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("part", ["teacher", "student"])
def test_a_training_before_a_run_goes_on_from_its_last_checkpoint_to_the_bit(tmp_path, monkeypatch, part):
    settings = {**QUICK, "method": "distill", "teacher": "mlp:6", "checkpoint_every": 20, "teacher_epochs": 20}
    settings |= {"teacher": "random", "student": "warm:60:mlp:8"} if part == "student" else {}
    whole = didact.run(**settings, directory=tmp_path / "whole")
    seen = killed_at(monkeypatch, Supervised, 50)
    with pytest.raises(KilledError):
        didact.run(**settings, directory=tmp_path / "cut")
    (training,) = (tmp_path / "cut" / "teachers").iterdir()
    assert training.name.endswith("-training")
    again = didact.resume(tmp_path / "cut", data=DATA, progress=False)
    after = seen[seen.index(50) + 1 :]
    assert after[0] == 40
    assert same(again.learner, whole.learner)
    assert again.metrics == whole.metrics
    spent = [
        {k: v for k, v in r.teacher_cost.as_dict().items() if k not in ("seconds", "peak_memory")}
        for r in (again, whole)
    ]
    assert spent[0] == spent[1]
    (kept,) = (tmp_path / "cut" / "teachers").iterdir()
    assert {path.name for path in kept.iterdir()} >= {"weights.safetensors", "cost.json"}


def test_a_language_model_that_is_trained_first_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("DIDACT_CACHE", "")
    settings = {"data": RECORDS, "student": "warm:30:decoder:1x32:32", "batch_size": 8, "steps": 2, "progress": False}
    settings |= {"method": "dpo", "checkpoint_every": 10, "data": [{**r, "rejected": "x"} for r in RECORDS]}
    whole = didact.run(**settings, directory=tmp_path / "whole")
    seen = killed_at(monkeypatch, SFT, 25)
    with pytest.raises(KilledError):
        didact.run(**settings, directory=tmp_path / "cut")
    again = didact.resume(tmp_path / "cut", data=settings["data"], progress=False)
    assert seen[seen.index(25) + 1 :][0] == 20
    assert same(again.learner, whole.learner)


def test_a_student_learns_first_from_the_labels_that_it_may_see(monkeypatch):
    labels = []
    loss = Supervised.loss

    def noted(self, batch):
        labels.append(int((batch["label"] != IGNORE).sum()) == batch.size)
        return loss(self, batch)

    monkeypatch.setattr(Supervised, "loss", noted)
    found = didact.run(method="mean_teacher", labels=30, **{**STILL, "student": "warm:200:mlp:8"})
    assert len(labels) == 200
    assert all(labels)
    assert (found.teacher_cost.steps, found.teacher_cost.labels) == (200, 30)
    assert (found.cost.steps, found.cost.labels) == (2, 30)
    plain = didact.run(method="mean_teacher", labels=30, **STILL)
    assert found.metrics["accuracy"] > plain.metrics["accuracy"] + 0.3
    assert found.config.student == "warm:200:mlp:8"


def test_what_a_method_copies_is_the_student_after_it_has_learned():
    """The average of mean_teacher, which is delivered, begins as the student."""
    config = RunConfig.from_flags(method="mean_teacher", student="warm:200:mlp:8")
    first, run = (prepare(config, Objects(data=DATA), teach=teach) for teach in (False, True))
    assert not same(first.method.learner, run.method.learner)
    assert same(run.method.delivered, run.method.learner)
    assert run.method.delivered is not run.method.learner


def test_a_student_learns_until_it_is_right_often_enough(monkeypatch):
    found = didact.run(method="supervised", **{**STILL, "student": "warm:90%:mlp:8"})
    assert found.validation["accuracy"] >= 0.9
    assert 0 < found.teacher_cost.steps < pretraining.LIMIT
    assert found.teacher_cost.steps % pretraining.EVERY == 0
    monkeypatch.setattr(pretraining, "LIMIT", 25)
    with pytest.raises(RunError, match=r"after 25 steps .*ask for less"):
        didact.run(method="supervised", **{**STILL, "student": "warm:100%:mlp:8"})
    with pytest.raises(ConfigError, match=r"student is 'warm:90%:mlp:8', but without validation examples"):
        didact.run(method="supervised", validation=0, **{**STILL, "student": "warm:90%:mlp:8"})


def test_a_teacher_is_trained_once_for_all_runs_that_would_train_it_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("DIDACT_CACHE", str(tmp_path))
    settings = {**STILL, "method": "distill", "teacher": "mlp:6", "teacher_epochs": 1}
    seen = killed_at(monkeypatch, Supervised, -1)
    one, again = didact.run(**settings), didact.run(**settings)
    assert len(seen) == one.teacher_cost.steps == again.teacher_cost.steps
    assert again.teacher == one.teacher
    for changed in (
        {"seed": 1},
        {"teacher_epochs": 2},
        {"batch_size": 32},
        {"data": blobs(seed=1)},
        {"teacher": "mlp:7"},
    ):
        before = len(seen)
        didact.run(**{**settings, **changed})
        assert len(seen) > before, changed


def test_teachers_of_language_models_may_be_controls_and_committees():
    settings = {"data": RECORDS, "method": "gkd", "student": "decoder:1x32:32", "batch_size": 8, "steps": 2}
    settings |= {"sampling": "max_new_tokens=4", "progress": False}
    teachers = ("noisy:0.3:warm:20:decoder:1x32:32", "decoder:1x32:32+warm:20:decoder:1x16:32", "random")
    for teacher in teachers:
        found = didact.run(**settings, teacher=teacher)
        assert found.metrics["teacher_kl"] > 0
        assert found.teacher_cost.steps == (20 if "warm" in teacher else 0)


def test_what_was_trained_first_is_in_the_runs_records(tmp_path):
    found = didact.run(method="distill", teacher="mlp:6", teacher_epochs=1, directory=tmp_path / "run", **QUICK)
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["teacher_cost"]["steps"] == found.teacher_cost.steps >= pretraining.LEAST_STEPS
