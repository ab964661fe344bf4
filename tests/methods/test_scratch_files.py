"""Methods that a user writes in one short file: they do what they are for, and are resumed to the bit."""

import os
import signal

import pytest
import torch

import didact
from blobs import blobs
from conftest import net, planted, quiet_fit
from didact import catalogue, sources
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.sources import BatchSource, Phases
from didact.types import Method

FIXMATCH = '''"""FixMatch (Sohn et al. 2020): a confident answer to a weak view is the label of a strong one."""

from dataclasses import dataclass

from torch import Tensor

from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.types import Batch, ExampleFeed, Learner, Method, Term, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    threshold: float = 0.95  # how probable an answer must be to be taken for a label
    weight: float = 1.0  # of the answers


class FixMatch(Method):
    feed = ExampleFeed(unlabelled=True, labelled_share=1 / 8, views={"weak": "weak", "strong": "strong"})

    def __init__(self, config: Config, learner: Learner) -> None:
        self.config, self.learner = config, learner

    def loss(self, batch: Batch) -> Terms:
        weak, strong = self.learner(batch.view("weak")).logits, self.learner(batch.view("strong")).logits
        sure, answer = weak.detach().softmax(-1).max(-1)
        unknown = ~is_labelled(batch["label"])
        answers = cross_entropy(strong, answer, trust=(unknown & (sure >= self.config.threshold)).float())
        return Terms(
            label=label_loss(weak, batch["label"]),
            answers=Term(answers.sum, unknown.sum(), self.config.weight),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        known = is_labelled(batch["label"])
        return {"label": known.sum(), "answers": (~known).sum()}
'''

DER = '''"""Dark Experience Replay (Buzzega et al. 2020): the student keeps to what it once answered."""

from dataclasses import dataclass

from didact.losses.features.distances import feature_mse
from didact.losses.labels.supervised import label_loss
from didact.memory import Reservoir
from didact.types import Batch, Learner, Method, TaskFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    alpha: float = 0.5  # weight of the earlier answers
    kept: int = 60  # how many of them are kept


class DER(Method):
    feed = TaskFeed()

    def __init__(self, config: Config, learner: Learner, sample: Batch) -> None:
        self.config, self.learner = config, learner
        shapes = {"x": sample["x"].shape[1:], "logits": learner(sample).logits.shape[1:]}
        self.memory = Reservoir(config.kept, shapes)

    def loss(self, batch: Batch) -> Terms:
        logits = self.learner(batch).logits
        terms = Terms(label=label_loss(logits, batch["label"]))
        if self.step:
            old = self.memory.draw(batch.size)
            now = self.learner(Batch({"x": old["x"], "id": batch["id"]})).logits
            terms["replay"] = feature_mse(now, old["logits"]).times(self.config.alpha)
        self.memory.put(x=batch["x"], logits=logits)
        return terms
'''


@pytest.fixture
def written(tmp_path):
    """Writes a method to a file of at most 40 lines."""

    def write(name, text):
        assert len(text.splitlines()) <= 40
        (tmp_path / f"{name}.py").write_text(text)
        return str(tmp_path / f"{name}.py")

    return write


def made(path, learner, *parts, **options):
    info = catalogue.find(path)
    return info.method_type(catalogue.build_config(info, options), learner, *parts)


def interrupting(steps):
    """What asks the run to end after so many steps, as Ctrl-C does."""
    left = [steps]

    def after_step(_method):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGINT)

    return after_step


OPTIONS = {"optimizer": OptimizerConfig(lr=0.01, schedule="constant"), "device": "cpu"}


# ---- FixMatch


def test_fixmatch_learns_from_examples_without_labels(written):
    settings = {"data": blobs(600, noise=0.8), "labels": 3, "student": "mlp:16", "steps": 300, "lr": 0.01, "seed": 1}
    path = written("fixmatch", FIXMATCH)
    runs = [
        didact.run(method=path, batch_size=64, threshold=0.9, weight=weight, progress=False, **settings)
        for weight in (1.0, 0.0)
    ]
    # With one label a class, the middle of each cloud is found by the others alone.
    assert runs[0].metrics["accuracy"] > runs[1].metrics["accuracy"] + 0.05


def test_a_fixmatch_that_was_cut_short_is_resumed_to_the_bit(written, tmp_path, monkeypatch):
    path = written("fixmatch", FIXMATCH)
    settings = {"labels": 12, "student": "mlp:8", "steps": 30, "lr": 0.01, "progress": False, "augment": "weak"}
    whole = didact.run(method=path, data=blobs(), directory=tmp_path / "whole", **settings)
    monkeypatch.setattr(Method, "after_step", interrupting(17))
    cut = didact.run(method=path, data=blobs(), directory=tmp_path / "cut", **settings)
    assert (cut.status, cut.cost.steps) == ("interrupted", 17)
    resumed = didact.resume(tmp_path / "cut", data=blobs(), progress=False, trust=(str(tmp_path / "fixmatch.py"),))
    assert resumed.metrics == whole.metrics
    for one, other in zip(resumed.learner.parameters(), whole.learner.parameters(), strict=True):
        assert torch.equal(one, other)


def test_fixmatch_runs_by_fit_and_its_batches_can_be_cut(written):
    path, found = written("fixmatch", FIXMATCH), []
    for micro_batch in (None, 10):
        method = made(path, ModuleLearner(net()), threshold=0.5)
        source = BatchSource(planted(labelled=0.2), batch_size=32, views=method.feed.views)
        quiet_fit(method, source, budget=Budget(steps=20), micro_batch=micro_batch, **OPTIONS)
        found.append(torch.cat([p.detach().flatten() for p in method.learner.parameters()]))
    torch.testing.assert_close(*found)


# ---- replay on a stream of two tasks


def stream():
    return sources.split_tasks(planted(300, classes=4), classes=2)


def streamed(path, *, alpha=0.5, steps=120, run=None, resume=False):
    first, second = stream()
    method = made(path, ModuleLearner(net(16, classes=4, dropout=0.1)), first.batch(slice(0, 2)), alpha=alpha)
    source = Phases([BatchSource(part, batch_size=20, seed=k) for k, part in enumerate((first, second))], steps=steps)
    result = quiet_fit(method, source, budget=Budget(steps=2 * steps), run=run, resume=resume, **OPTIONS)
    return method.learner, result


def accuracy(learner, examples):
    with torch.no_grad():
        return (learner(examples.batch()).logits.argmax(-1) == examples.tensors["label"]).float().mean().item()


def test_replay_keeps_the_first_task(written):
    path, (first, second) = written("der", DER), stream()
    replayed, forgotten = (streamed(path, alpha=alpha)[0] for alpha in (0.5, 0.0))
    assert accuracy(forgotten, first) < 0.2 and accuracy(forgotten, second) > 0.95
    assert accuracy(replayed, first) > 0.8 and accuracy(replayed, second) > 0.8


@pytest.mark.parametrize("cut", [14, 24, 38])
def test_a_stream_that_was_cut_short_is_resumed_to_the_bit(written, tmp_path, monkeypatch, cut):
    path = written("der", DER)
    whole, _ = streamed(path, steps=24)
    with monkeypatch.context() as patched:
        patched.setattr(Method, "after_step", interrupting(cut))
        _, result = streamed(path, steps=24, run=tmp_path / "run")
    assert (result.status, result.steps) == ("interrupted", cut)
    resumed, result = streamed(path, steps=24, run=tmp_path / "run", resume=True)
    assert result.steps == 48
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
