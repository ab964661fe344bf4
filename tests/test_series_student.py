"""A student of series in use: what it is taught with, what it answers, and what its export answers."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier

import didact
from didact import sources
from didact.cli import main
from didact.errors import ConfigError, DataError
from didact.learners import ModuleLearner
from didact.parts.part import ForExamples
from didact.parts.python import teacher_of
from didact.teachers import RawSeries
from didact.types import Batch

SETTINGS = {"student": "cnn1d:4,4", "steps": 20, "progress": False, "validation": 0.2, "seed": 1}


def waves(size, seed, length=20, gaps=0.0):
    """Slow and fast waves far from 0, of two channels, [N, 2, T], and which they are, [N]."""
    rng = np.random.default_rng(seed)
    fast, start = rng.integers(0, 2, size), rng.uniform(0, 6, (size, 1, 1))
    time = np.arange(length) * (0.4 + 0.6 * fast[:, None, None])
    x = np.concatenate([100 + 20 * np.sin(time + start), np.cos(time + start)], axis=1)
    x += 0.1 * rng.standard_normal(x.shape)
    x[rng.random(x.shape) < gaps] = np.nan
    return x, np.where(fast, "fast", "slow")


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    place = tmp_path_factory.mktemp("series")
    x, y = waves(120, 0, gaps=0.05)
    np.savez(place / "train.npz", x=x, label=y)
    didact.run(method="supervised", data=str(place / "train.npz"), directory=place / "run", **SETTINGS)
    return place


def by_hand(student, x):
    """Probabilities of the net on series that numpy prepared."""
    known = student.like.preprocessing
    mean, std = np.array(known.means)[:, None], np.array(known.stds)[:, None]
    step = np.arange(20)
    filled = [[np.interp(step, step[: len(c)][~np.isnan(c)], c[~np.isnan(c)]) for c in one] for one in x]
    inputs = torch.from_numpy((np.array(filled) - mean) / std).float()
    with torch.no_grad():
        return student.learner.module(inputs).double().softmax(1).numpy()


def test_it_answers_series_as_they_come(taught, tmp_path):
    student = didact.load(taught / "run")
    x, y = waves(30, 5, gaps=0.2)
    short = x[:, :, :15]
    for given, series in ((x, x), (list(x), x), (torch.tensor(x), x), (short, short)):
        np.testing.assert_allclose(student.predict(given).probabilities, by_hand(student, series), atol=1e-5)
    unequal = [x[0], *short[1:]]
    np.testing.assert_allclose(student.predict(unequal).probabilities, by_hand(student, unequal), atol=1e-5)
    lines = [
        ":".join(",".join(map(str, channel)) for channel in one) + f":{name}" for one, name in zip(x, y, strict=True)
    ]
    (tmp_path / "new.ts").write_text("@classLabel true fast slow\n@data\n" + "\n".join(lines))
    found = student.predict(tmp_path / "new.ts")
    np.testing.assert_allclose(found.probabilities, by_hand(student, x), atol=1e-5)
    assert sum(found.missing.values()) == np.isnan(x).sum() - sum(
        np.isnan(one).all(0)[::-1].cumprod().sum() * 2 for one in x
    )
    right = np.mean(np.array(student.classes)[by_hand(student, x).argmax(1)] == y)
    assert student.evaluate(tmp_path / "new.ts")["accuracy"] == pytest.approx(right)
    with pytest.raises(DataError, match="cut longer ones"):
        student.predict(waves(3, 0, length=25)[0])


@pytest.mark.slow
def test_its_export_answers_raw_series_by_itself(taught, tmp_path):
    student = didact.load(taught / "run")
    x, _ = waves(9, 6, gaps=0.2)
    expected = student.predict(x).probabilities
    graph = student.export(tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(graph)
    probabilities, labels = session.run(["probabilities", "label"], {"series": x})
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert labels.tolist() == student.predict(x).labels


@pytest.mark.slow
def test_the_script_beside_its_export_fills_up_shorter_series(taught, tmp_path):
    student, (x, _) = didact.load(taught / "run"), waves(9, 6, gaps=0.2)
    student.export(tmp_path / "student.onnx")
    np.savez(tmp_path / "new.npz", x=x[:, :, :12])
    script = [sys.executable, "-I", str(tmp_path / "student.onnx.py"), str(tmp_path / "new.npz")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=100, check=True)
    told = [json.loads(line)["probabilities"] for line in done.stdout.splitlines()]
    np.testing.assert_allclose(told, student.predict(x[:, :, :12]).probabilities, atol=1e-5)


def test_on_the_command_line_the_steps_of_a_table_are_columns(tmp_path, capsys):
    x, y = waves(60, 1)
    head = ",".join([*(f"t{step}" for step in range(20)), "kind"])
    lines = [",".join([*map(str, row[0]), name]) for row, name in zip(x, y, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join([head, *lines]))
    words = ["--data", str(tmp_path / "t.csv"), "--target", "kind", "--modality", "series", "--standardise", "series"]
    words += ["--student", "mlp:4", "--steps", "3", "--augment", "time_warp", "--out", str(tmp_path / "run")]
    assert main(["run", "supervised", *words]) == 0
    rows = didact.load(tmp_path / "run").predict(tmp_path / "t.csv")
    known = didact.load(tmp_path / "run").like.preprocessing
    assert (known.standardise, known.columns[:2]) == ("series", ("t0", "t1"))
    np.testing.assert_allclose(
        rows.probabilities, didact.load(tmp_path / "run").predict(x[:, :1]).probabilities, atol=1e-6
    )
    assert main(["run", "supervised", "--data", "digits", "--augment", "jitter", "--steps", "3"]) == 2
    assert "a view of series" in " ".join(capsys.readouterr().err.split())


def prepared(standardise):
    x, y = waves(40, 2, gaps=0.1)
    examples = sources.from_tensors(x, y, standardise=standardise)
    return x, sources.fit_preprocessing(examples)(examples)


@pytest.mark.parametrize("standardise", ["channel", "series"])
def test_the_series_of_a_batch_are_found_and_those_made_of_them_are_in_their_unit(standardise):
    x, examples = prepared(standardise)
    index = torch.tensor([3, 30, 7])
    batch = examples.batch(index)
    np.testing.assert_array_equal(RawSeries(examples).values(batch), x[index])
    made = RawSeries(examples).values(Batch({**batch, "x": 2 * batch["x"]}))
    mean, std = np.nanmean(x[index], -1, keepdims=True), np.nanstd(x[index], -1, keepdims=True)
    if standardise == "channel":
        mean, std = np.nanmean(x, (0, 2))[:, None], np.nanstd(x, (0, 2))[:, None]
    np.testing.assert_allclose(made, 2 * batch["x"].numpy() * std + mean, rtol=1e-5)


@pytest.mark.slow
def test_teachers_from_elsewhere_get_raw_series_and_runs_their_own_preprocessing(taught, tmp_path):
    seen = list[torch.Tensor]()

    def answer(series):
        seen.append(series)
        return np.tile([0.25, 0.75], (len(series), 1))

    x, examples = prepared("series")
    purpose = ForExamples(examples=examples)
    batch = examples.batch(torch.arange(5))
    assert teacher_of(answer, purpose).model.signal(batch).labels.shape == (5, 2)
    np.testing.assert_array_equal(seen[0], x[:5])
    forest = RandomForestClassifier(5, random_state=0).fit(x.reshape(len(x), -1), np.arange(40) % 2 + 1)
    forest.classes_ = np.array(examples.classes)
    skops.io.dump(forest, tmp_path / "forest.skops")
    told = purpose.open(str(tmp_path / "forest.skops"), "teacher").model.signal(batch).labels
    np.testing.assert_allclose(told, forest.predict_proba(x[:5].reshape(5, -1)), rtol=1e-6)
    graph = didact.load(taught / "run").export(tmp_path / "student.onnx")
    exported = purpose.open(str(graph), "teacher").model.signal(batch)
    np.testing.assert_allclose(exported.labels, didact.load(taught / "run").predict(x[:5]).probabilities, atol=1e-5)
    earlier = purpose.open(str(taught / "run"), "teacher").model.signal(batch)
    student = didact.load(taught / "run")
    np.testing.assert_allclose(earlier.logits.softmax(1), student.predict(x[:5]).probabilities, atol=1e-5)


def test_a_student_goes_on_with_the_preprocessing_that_it_has(taught):
    x, y = waves(60, 9)
    found = didact.run(method="supervised", data=(x + 50, y), **{**SETTINGS, "student": str(taught / "run")})
    assert found.student.like.preprocessing == didact.load(taught / "run").like.preprocessing


@pytest.mark.parametrize("spec", ["cnn1d:3,5,2,2", "mlp:4", "mlp:", "transformer:1x8", "auto"])
def test_students_of_series(spec):
    _, examples = prepared("channel")
    learner = ForExamples(examples=examples, seed=3).open(spec, "student").model
    assert isinstance(learner, ModuleLearner)
    assert learner(examples.batch(torch.arange(6))).logits.shape == (6, 2)


def test_the_convolutional_net_is_that_of_the_paper():
    """Kernels, widths, and no look at what is further away than their sum."""
    _, examples = prepared("channel")
    net = ForExamples(examples=examples, seed=3).open("cnn1d:3,5,2", "student").model.module
    convolutions = [part for part in net.modules() if isinstance(part, torch.nn.Conv1d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions] == [
        (2, 3, 9),
        (3, 5, 5),
        (5, 2, 3),
    ]
    x = torch.randn(1, 2, 20, requires_grad=True)
    body = torch.nn.Sequential(*[block.conv for block in list(net)[:3]])
    body(x)[0, :, 10].sum().backward()
    assert x.grad[0].abs().sum(0).nonzero()[:, 0].tolist() == list(range(10 - 7, 10 + 8))


def test_a_net_for_series_needs_series():
    with pytest.raises(ConfigError, match="the data are of the kind image; it needs series"):
        didact.run(method="supervised", data="digits", student="cnn1d:8", steps=1)


@pytest.mark.slow
def test_the_example_goes_the_whole_way(tmp_path, capsys):
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "series.py"))
    assert example["main"](tmp_path, seed=0) == 0
    assert "onnxruntime alone answers as didact does" in capsys.readouterr().out
