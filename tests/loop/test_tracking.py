"""Trackers get what a run writes down, and never end it."""

import json
import math
import struct
from typing import ClassVar

import pytest
import torch

from conftest import net, quiet_fit
from didact.errors import ConfigError, MissingExtraError
from didact.learners import ModuleLearner
from didact.loop import Budget, LoopConfig, tracking
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource


def run(problem, directory, steps=20, **options):
    torch.manual_seed(0)
    method = Supervised(Config(), ModuleLearner(net()))
    source = BatchSource(problem, batch_size=20)
    return quiet_fit(method, source, budget=Budget(steps=steps), run=directory, log_every=5, monitors=[], **options)


def written(directory, name="loss/total"):
    """The values of a figure by step, as the run wrote them."""
    records = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return {record["step"]: record[name] for record in records if name in record}


class Recorded:
    """A tracker that keeps what it gets, and fails when it is told to."""

    opened: ClassVar[list] = []
    fails_at = math.inf

    def __init__(self, path, step):
        self.figures, self.done = [], None
        self.opened.append(self)

    def log(self, step, figures):
        if step >= self.fails_at:
            raise RuntimeError("the network is down.")
        self.figures.append((step, figures))

    def close(self, *, done):
        self.done = done


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(Recorded, "opened", [])
    monkeypatch.setitem(tracking._TRACKERS, "wandb", Recorded)
    monkeypatch.setattr(tracking, "find_spec", lambda name: name)
    return Recorded


def test_a_tracker_gets_every_figure_once(problem, run_directory, recorded):
    run(problem, run_directory, track=("wandb",))
    (tracker,) = recorded.opened
    assert {step: figures["loss/total"] for step, figures in tracker.figures} == written(run_directory)
    assert not any("step" in figures for _, figures in tracker.figures)
    assert tracker.done is True
    assert not (run_directory / "tensorboard").exists()


def test_a_tracker_that_fails_is_left_with_one_warning(problem, run_directory, recorded, monkeypatch, tmp_path):
    plain = run(problem, tmp_path / "plain", track=("none",))
    monkeypatch.setattr(recorded, "fails_at", 10)
    with pytest.warns(UserWarning, match=r"wandb failed at step 10.*network is down\. The run goes on") as warned:
        result = run(problem, run_directory, track=("wandb",))
    assert len(warned) == 1
    timeless = [[{**record, "seconds": 0} for record in one.history] for one in (result, plain)]
    assert result.status == "done" and timeless[0] == timeless[1]
    assert len(recorded.opened) == 1 and [step for step, _ in recorded.opened[0].figures] == [5]
    assert written(run_directory) == written(tmp_path / "plain")


def test_a_finished_run_sends_its_test_metrics(tmp_path, recorded):
    for status, done in (("done", True), ("interrupted", False)):
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "result.json").write_text(json.dumps({"status": status, "metrics": {"accuracy": 0.9}}))
        found = tracking.Tracking(("wandb",), tmp_path)
        found.log({"step": 7, "loss/total": 1.0, "nothing": None})
        found.close()
        tracker = recorded.opened[-1]
        assert tracker.figures == [(7, {"loss/total": 1.0}), (7, {"test/accuracy": 0.9})]
        assert tracker.done is done


def test_an_unknown_or_missing_tracker_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"track is 'wandn', which is not known\. Did you mean wandb"):
        LoopConfig(track=("wandn",))
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"track = mlflow needs.*didact\[mlflow\]"):
        LoopConfig(track=("mlflow",))
    assert LoopConfig(track=("none",)).track == ("none",)


def test_tensorboard_has_the_figures_of_the_run(problem, run_directory):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    run(problem, run_directory)
    (path,) = (run_directory / "tensorboard").iterdir()
    events = loader.EventFileLoader(str(path)).Load()
    values = {event.step: value for event in events for value in event.summary.value if value.tag == "loss/total"}
    found = {step: value.tensor.float_val[0] for step, value in values.items()}
    assert found == pytest.approx(written(run_directory), rel=1e-6)


def chunks(data):
    """The records of a file of wandb, which is a log of LevelDB after a header of 7 bytes."""
    place, record = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_wandb_has_the_figures_of_the_run_without_a_network(problem, run_directory, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    run(problem, run_directory, track=("wandb",))
    (path,) = run_directory.glob("wandb/offline-run-*/*.wandb")
    assert path.stem == f"run-{json.loads((run_directory / 'trackers.json').read_text())['wandb']}"
    found = {}
    for chunk in chunks(path.read_bytes()):
        items = {".".join(item.nested_key) or item.key: item for item in Record.FromString(chunk).history.item}
        figures = {name: json.loads(item.value_json) for name, item in items.items()}
        found |= {figures["step"]: figures["loss/total"]} if "loss/total" in figures else {}
    assert found == pytest.approx(written(run_directory))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_mlflow_has_the_figures_of_a_run_and_of_its_resumption(problem, run_directory, monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_directory.mkdir()
    (run_directory / "config.json").write_text(json.dumps({"method": "supervised", "optimizer": {"lr": 0.1}}))
    run(problem, run_directory, steps=10, track=("mlflow",))
    run(problem, run_directory, steps=20, track=("mlflow",), resume=True)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("didact").experiment_id
    (found,) = client.search_runs([experiment])
    assert found.info.run_name == run_directory.name and found.info.status == "KILLED"
    assert found.data.params == {"method": "supervised", "optimizer.lr": "0.1"}
    history = client.get_metric_history(found.info.run_id, "loss/total")
    assert {one.step: one.value for one in history} == pytest.approx(written(run_directory))
    assert set(written(run_directory)) == {5, 10, 15, 20}
