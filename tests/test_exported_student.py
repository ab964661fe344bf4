"""A student that was exported answers as it does here: by onnxruntime alone, and by the script beside the graph."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import didact
from didact import sources, worlds
from didact.cli import main
from didact.learners.maps import unflatten_map
from didact.teachers import OnnxTeacher

SETTINGS = {"student": "mlp:8", "progress": False, "split_seed": 3, "steps": 30}


def rows(size, seed=0):
    """A table of all sorts of columns, as words, with gaps; and a class and a price."""
    rng = np.random.default_rng(seed)
    age, city = rng.normal(40, 12, size).round(1), rng.choice(["Rome", "Oslo", "Cairo"], size)
    seen = pd.Timestamp("1965-01-01") + pd.to_timedelta(rng.integers(0, 30_000, size), "h")
    frame = pd.DataFrame(
        {
            "age": age,
            "income": [f"{value:,.2f}" for value in rng.uniform(500, 2e6, size)],
            "stamp": 1.7e9 + rng.integers(0, 1000, size),
            "city": city,
            "zip": rng.choice(["01186", "75001"], size),
            "shop": [f"s{number}" for number in rng.integers(0, 150, size)],
            "since": seen.strftime("%Y-%m-%d"),
            "seen": seen.strftime("%Y-%m-%dT%H:%M:%S"),
            "member": np.where(age + 10 * (city == "Oslo") > 42, "yes", "no"),
            "price": 200_000 + 900 * age,
        }
    )
    for step, name in enumerate(["age", "income", "city", "shop", "since", "seen"], 7):
        frame.loc[::step, name] = None
    return frame


def odd(size):
    """Rows such as training rows were not."""
    frame = rows(size, seed=1)
    frame.loc[1::5, "city"] = "Lima"
    frame.loc[2::5, "shop"] = "a new one"
    frame.loc[3::5, "since"] = "2024-02-29"
    frame.loc[4::5, "seen"] = "1899-12-31 23:59Z"
    frame.loc[::5, "age"] = 1e9
    return frame


def answers(path, frame):
    """By onnxruntime alone, from the raw columns."""
    session = onnxruntime.InferenceSession(str(path))
    feed = {}
    for one in session.get_inputs():
        column = frame[one.name]
        if one.type == "tensor(double)":
            words = column.astype(object).where(column.notna(), "nan").astype(str).str.replace(",", "")
            feed[one.name] = words.to_numpy(dtype=float)[:, None]
        else:
            feed[one.name] = column.where(column.notna(), "").to_numpy(dtype=object)[:, None]
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, feed), strict=True))


def ask(script, *words):
    """The answers that a script prints, with nothing of didact to import."""
    done = subprocess.run(
        [sys.executable, "-I", script, *map(str, words)], capture_output=True, text=True, timeout=100, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A student of a table, and the graph that was exported of it."""
    folder = tmp_path_factory.mktemp("table")
    rows(400).drop(columns="price").to_csv(folder / "train.csv", index=False)
    result = didact.run(
        method="supervised", data=str(folder / "train.csv"), target="member", directory=folder / "run", **SETTINGS
    )
    assert main(["export", str(folder / "run"), "--to", "onnx", "--logits"]) == 0
    return result.student, folder / "run" / "student.onnx"


def test_onnxruntime_alone_answers_raw_rows_as_predict_does(taught):
    student, path = taught
    for frame in (rows(200, seed=2), odd(100)):
        expected = student.predict(frame)
        found = answers(path, frame)
        np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-5)
        assert found["label"].tolist() == expected.labels
        np.testing.assert_allclose(found["logits"], expected.predictions.logits, rtol=1e-5, atol=1e-4)
    assert set(expected.unknown) == {"city", "shop"}
    assert len(expected.missing) == 6
    assert len(set(expected.labels)) == 2


def test_the_script_beside_a_graph_answers_a_file_of_rows(taught, tmp_path):
    student, path = taught
    odd(40).to_csv(tmp_path / "new.csv", index=False)
    found = ask(path.with_name("student.onnx.py"), tmp_path / "new.csv")
    expected = student.predict(tmp_path / "new.csv")
    np.testing.assert_allclose([one["probabilities"] for one in found], expected.probabilities, atol=1e-5)
    assert [one["label"] for one in found] == expected.labels


def test_an_exported_student_teaches_as_the_run_does(taught):
    frame = rows(200, seed=4).drop(columns="price")
    frame["seen"] = pd.to_datetime(frame["seen"])
    common = {"method": "distill", "data": frame, "target": "member", **SETTINGS}
    teachers = (f"onnx:{taught[1]}", str(taught[1].parent))
    found, expected = (didact.run(teacher=teacher, **common) for teacher in teachers)
    assert found.teacher["accuracy"] == expected.teacher["accuracy"]
    ours, theirs = (result.student.predict(frame).probabilities for result in (found, expected))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_regression_answers_in_the_users_unit(tmp_path):
    frame = rows(300).drop(columns="member")
    result = didact.run(
        method="supervised", data=frame, target="price", task="regression", directory=tmp_path / "run", **SETTINGS
    )
    path = result.student.export(tmp_path / "price")
    new = odd(50)
    expected = result.student.predict(new).values
    # Terms of 1e7 cancel in the rows whose age is 1e9, so that each order of adding float32 numbers rounds otherwise.
    far = new["age"].to_numpy() == 1e9
    found = answers(path, new)["prediction"][:, 0]
    np.testing.assert_allclose(found[~far], expected[~far], rtol=1e-6)
    np.testing.assert_allclose(found[far], expected[far], rtol=1e-5)
    assert np.median(expected) > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_of_any_size_are_answered(tmp_path, mode):
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 60)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(low, low + 150, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(tmp_path / "pictures" / name / f"{number}.png")
    result = didact.run(
        method="supervised",
        data=str(tmp_path / "pictures"),
        image_size=8,
        directory=tmp_path / "run",
        **{**SETTINGS, "student": "cnn:4"},
    )
    path = result.student.export(tmp_path / "graph")
    file = tmp_path / "pictures" / "dark" / "3.png"
    other = tmp_path / "other.png"
    Image.fromarray(rng.integers(0, 256, (11, 31, 3), dtype=np.uint8)).save(other)
    session = onnxruntime.InferenceSession(str(path))
    for one in (file, other):
        expected = result.student.predict([one]).probabilities
        (found,) = ask(tmp_path / "graph.onnx.py", one)
        np.testing.assert_allclose(found["probabilities"], expected[0], atol=1e-5)
        pixels = np.asarray(Image.open(one).convert("RGB"))[None]
        np.testing.assert_allclose(session.run(["probabilities"], {"images": pixels})[0], expected, atol=1e-5)
    examples = sources.load(tmp_path / "pictures", image_size=8)
    teacher = OnnxTeacher(path, classes=examples.classes)
    expected = result.student.predict(examples.tensors["x"].numpy()).probabilities
    np.testing.assert_allclose(teacher.signal(examples.batch()).labels, expected, atol=1e-5)


@pytest.mark.slow
def test_texts_are_answered_by_the_script(tmp_path):
    texts = [f"{word} {number} wörds" for number in range(30) for word in ("good", "bad")]
    frame = pd.DataFrame({"said": texts, "label": [text.split()[0] for text in texts]})
    result = didact.run(
        method="supervised", data=frame, text_column="said", max_length=24, directory=tmp_path / "run", **SETTINGS
    )
    result.student.export(tmp_path / "graph")
    new = ["good 77", "bad", "a text of more than twenty-four bytes, which is cut"]
    (tmp_path / "new.txt").write_text("\n".join(new))
    found = ask(tmp_path / "graph.onnx.py", tmp_path / "new.txt")
    expected = result.student.predict(new)
    np.testing.assert_allclose([one["probabilities"] for one in found], expected.probabilities, atol=1e-5)
    assert [one["label"] for one in found] == expected.labels


@pytest.mark.slow
def test_the_tokenizer_of_a_text_model_lies_beside_its_graph(tmp_path):
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "good", "bad", *map(str, range(20))])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        tmp_path / "m"
    )
    config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(vocab_size=len(words), initializer_range=0.5, **config)).save_pretrained(
        tmp_path / "m"
    )
    texts = [f"{number} {word} words" for number in range(20) for word in ("good", "bad")]
    frame = pd.DataFrame({"said": texts, "label": [text.split()[1] for text in texts]})
    settings = {**SETTINGS, "student": f"hf:{tmp_path / 'm'}", "steps": 5, "text_column": "said", "max_length": 8}
    student = didact.run(method="supervised", data=frame, directory=tmp_path / "run", **settings).student
    student.export(tmp_path / "graph")
    assert json.loads((tmp_path / "graph.onnx.tokenizer.json").read_text())["truncation"]["max_length"] == 8
    new = ["good 7 unheard words", "bad", "1 2 3 4 5 6 7 8 9 10 bad"]
    (tmp_path / "new.txt").write_text("\n".join(new))
    found = ask(tmp_path / "graph.onnx.py", tmp_path / "new.txt")
    expected = student.predict(new).probabilities
    np.testing.assert_allclose([one["probabilities"] for one in found], expected, atol=1e-5)
    assert np.ptp(expected[:, 0]) > 1e-3


def test_onnxruntime_alone_answers_images_with_masks_as_predict_does(tmp_path):
    examples = worlds.load("canvas:masks")
    for name in ("images", "masks"):
        (tmp_path / "scenes" / name).mkdir(parents=True)
    for number in range(40):
        pixels = examples.tensors["x"][number].mul(255).round().byte().permute(1, 2, 0).squeeze(-1).numpy()
        Image.fromarray(pixels).save(tmp_path / "scenes" / "images" / f"{number}.png")
        mask = examples.tensors["mask"][number].byte().numpy()
        Image.fromarray(mask).save(tmp_path / "scenes" / "masks" / f"{number}.png")
    settings = {**SETTINGS, "student": "fcn:8,8", "batch_size": 8}
    didact.run(method="supervised", data=str(tmp_path / "scenes"), directory=tmp_path / "run", **settings)
    assert main(["export", str(tmp_path / "run"), "--to", "onnx", "--logits"]) == 0
    paths = sorted((tmp_path / "scenes" / "images").iterdir())[:7]
    expected = didact.load(tmp_path / "run").predict([str(path) for path in paths])
    session = onnxruntime.InferenceSession(str(tmp_path / "run" / "student.onnx"))
    pixels = np.stack([np.array(Image.open(path)) for path in paths])
    probabilities, mask, logits = session.run(None, {"images": pixels.reshape(7, *pixels.shape[1:3], -1)})
    assert (mask == expected.masks).all() and len(np.unique(mask)) > 1
    wanted = unflatten_map(expected.predictions.logits, torch.from_numpy(pixels[:, None]))
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probabilities, wanted.softmax(1), atol=1e-5)
    assert ask(tmp_path / "run" / "student.onnx.py", paths[3], tmp_path / "mask.png") == []
    assert (np.array(Image.open(tmp_path / "mask.png")) == mask[3]).all()
    facts = json.loads((tmp_path / "run" / "student.onnx.json").read_text())
    assert [one["name"] for one in facts["outputs"]] == ["probabilities", "mask", "logits"]
