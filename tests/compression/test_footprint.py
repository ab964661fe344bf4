"""What is measured is what a student answers, and every student of a search can be built."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from didact import sources
from didact.errors import DidactError
from didact.learners import export
from didact.materials.examples.compression import footprint
from didact.materials.examples.compression.candidates import DEFAULTS, candidates
from didact.materials.examples.compression.footprint import measure, median_time, raw_inputs
from didact.materials.examples.compression.refitting import is_estimator
from didact.parts.part import ForExamples
from didact.parts.student import Student
from didact.types import Examples
from didact.worlds import load


def table(folder):
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2001-01-01") + pd.to_timedelta(rng.integers(0, 90_000, 80), "h")
    frame = pd.DataFrame({"age": rng.normal(40, 12, 80), "city": rng.choice(["Rome", "Oslo"], 80)})
    frame = frame.assign(seen=days.strftime("%Y-%m-%dT%H:%M:%S"), label=rng.choice(["yes", "no"], 80))
    frame.loc[::7, ["age", "seen"]] = None
    frame.loc[::9, "city"] = None
    frame.to_csv(folder / "table.csv", index=False)
    return sources.fit_preprocessing(read := sources.load(folder / "table.csv"), None)(read)


def examples(kind, folder):
    if kind == "table":
        return table(folder)
    if kind == "image":
        return load("digits").select(torch.arange(40))
    if kind == "series":
        read = sources.from_tensors(
            torch.randn(40, 2, 12, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3, modality="series"
        )
        return sources.fit_preprocessing(read, None)(read)
    ids = torch.randint(0, 256, (40, 9), generator=torch.Generator().manual_seed(0))
    tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "label": ids[:, 0] % 2, "id": torch.arange(40)}
    return Examples(tensors=tensors, task="classification", modality="text", classes=("a", "b"), vocabulary=256)


def student(spec, data):
    learner = ForExamples(examples=data).open(spec, "student").model.eval()
    return Student(learner=learner, like=export.blank_examples(export.describe(data)), spec=spec)


@pytest.mark.parametrize("kind", ["table", "image", "series"])
def test_the_rows_that_are_timed_are_those_of_the_examples(kind, tmp_path):
    data = examples(kind, tmp_path)
    one = student("mlp:4", data)
    session = onnxruntime.InferenceSession(str(one.export(tmp_path / "a.onnx")))
    found = session.run(["probabilities"], raw_inputs(data))[0]
    wanted = one.learner(data.batch()).logits.softmax(1).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-3 if kind == "table" else 1e-5)
    assert wanted.std() > 0.01


def test_a_student_is_measured_by_its_file(tmp_path):
    data = examples("table", tmp_path)
    one = student("mlp:4", data)
    found = measure(one, data)
    inputs = data.shape[0]
    assert found.parameters == 4 * inputs + 4 + 2 * 4 + 2
    assert found.megabytes == pytest.approx(one.export(tmp_path / "a.onnx").stat().st_size / 1e6)
    assert found.runtime == "onnxruntime" and 0 < found.milliseconds < 1000


def test_without_onnx_the_time_is_torchs(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise DidactError("It can't be exported.")

    monkeypatch.setattr(footprint.Student, "export", fails)
    found = measure(student("mlp:4", data := examples("image", tmp_path)), data)
    # 64 pixels to 4 units to 10 classes, and the mean and spread of the one channel.
    assert found.runtime == "torch" and found.megabytes == pytest.approx(4 * (64 * 4 + 4 + 40 + 10 + 2) / 1e6)


def test_the_median_leaves_the_first_call_out(monkeypatch):
    """By a clock that moves in the calls alone."""
    now, waits = [0.0], iter([0.3, 0.01, 0.05, 0.02])

    def call():
        now[0] += next(waits)

    monkeypatch.setattr(footprint.time, "perf_counter", lambda: now[0])
    assert median_time(call, least=3, seconds=0.0) == pytest.approx(0.02)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_every_student_of_a_search_can_be_built(kind, tmp_path):
    data = examples(kind, tmp_path)
    tried = candidates(data, (), labelled=True)
    nets = [one.student for one in tried if one.method == "distill"]
    assert [one.student for one in tried if one.method == "supervised"] == nets
    assert [one.student for one in tried if one.method == "refit"] == [s for s in DEFAULTS[kind] if is_estimator(s)]
    sizes = [
        sum(weight.numel() for weight in ForExamples(examples=data).open(spec, "student").model.parameters())
        for spec in nets
    ]
    assert len(set(sizes)) == len(sizes) and min(sizes) > 0
    assert all(one.method == "distill" for one in candidates(data, ("mlp:8",), labelled=False))
