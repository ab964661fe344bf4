"""Exports answer as the learner did."""

import dataclasses
import json
import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
)

from didact.errors import CheckpointError, ConfigError, DidactError
from didact.learners import ModuleLearner, huggingface, onnx_export, onnx_graph, onnx_layers
from didact.learners import export as exports
from didact.learners.export import export
from didact.parts import saved
from didact.parts.models import build
from didact.preprocessing import Category, ImagePreprocessing, Number, TablePreprocessing
from didact.types import Examples, Scale

CLASSES = ("b", "a", "c")


def examples(modality, *, count=6, task="classification", vocabulary=30):
    generator = torch.Generator().manual_seed(0)
    ids = {"id": torch.arange(count)}
    classes = CLASSES if task == "classification" else ()
    if modality == "text":
        tokens = torch.randint(1, vocabulary, (count, 8), generator=generator)
        mask = (torch.arange(8) < torch.arange(3, 3 + count)[:, None]).long()
        tensors = {"input_ids": tokens * mask, "attention_mask": mask, **ids}
        return Examples(tensors=tensors, task=task, modality="text", classes=classes, vocabulary=vocabulary)
    shape = (count, 1, 8, 8) if modality == "image" else (count, 3)
    colour = Category(name="colour", values=("blue", "red"), places=(1, 0), width=2, unknown=-1, missing=0)
    table = TablePreprocessing((Number(name="size", fill=2.5), colour))
    known = ImagePreprocessing(channels=1, height=8, width=8) if modality == "image" else table
    x = torch.rand(shape, generator=generator) * 3 + 1
    return Examples(tensors={"x": x, **ids}, task=task, modality=modality, classes=classes, preprocessing=known)


KINDS = [("mlp:8", "table"), ("cnn:4,8", "image"), ("transformer:1x16", "image"), ("transformer:1x16", "text")]


def answer(learner, data):
    with torch.no_grad():
        return learner.eval()(data.batch()).logits


def raw(data):
    """Rows as a graph takes them, and the same examples with their inputs."""
    if data.modality == "text":
        return {name: data.tensors[name].numpy() for name in ("input_ids", "attention_mask")}, data
    if data.modality == "image":
        pixels = np.random.default_rng(0).integers(0, 256, (data.size, 8, 8, 1), dtype=np.uint8)
        return {"images": pixels}, data.with_tensors(x=torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    sizes = np.array([3.5, np.nan, 1.25, -2, 0, 1e3])[: data.size]
    colours = np.array(["red", "blue", "", "green", "red", ""], dtype=object)[: data.size]
    x = torch.tensor([[3.5, 1, 0], [2.5, 0, 1], [1.25, 1, 0], [-2, 0, 0], [0, 1, 0], [1e3, 1, 0]])[: data.size]
    return {"size": sizes[:, None], "colour": colours[:, None]}, data.with_tensors(x=x)


def run(path, feed):
    session = onnxruntime.InferenceSession(str(path))
    known = {one.name for one in session.get_inputs()}
    given = {name: array for name, array in feed.items() if name in known}
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, given), strict=True))


@pytest.mark.parametrize(("spec", "modality"), KINDS)
def test_safetensors_are_built_again_without_the_data(tmp_path, spec, modality):
    data = examples(modality)
    learner = build(spec, data, seed=3).train()
    learner.tap("hidden")
    path = export(
        learner, tmp_path / "deep" / "student", to="safetensors", examples=data, spec=spec, config={"seed": 3}
    )
    assert path == tmp_path / "deep" / "student.safetensors"
    assert learner.training
    student = saved.load(path)
    again, like = student.learner, student.like
    assert not again.training
    assert torch.equal(answer(again, data), answer(learner, data))
    for field in ("task", "modality", "classes", "preprocessing", "shape", "vocabulary"):
        assert getattr(like, field) == getattr(data, field), field
    assert like.size == 2
    assert exports.read(path)[1]["config"] == {"seed": 3}
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["didact"])["classes"] == ["b", "a", "c"]
    assert [p.name for p in path.parent.iterdir()] == ["student.safetensors"]


def test_weights_of_an_unknown_module_are_only_read(tmp_path):
    learner = ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(3, 3)))
    path = export(learner, tmp_path / "own.safetensors", to="safetensors", examples=examples("table"))
    tensors, facts = exports.read(path)
    assert facts["spec"] is None
    assert torch.equal(tensors["module.1.weight"], learner.module[1].weight)
    with pytest.raises(CheckpointError, match="a module of your own"):
        saved.load(path)


def test_broken_files_are_named(tmp_path):
    data = examples("table")
    path = export(build("mlp:8", data), tmp_path / "a.safetensors", to="safetensors", examples=data, spec="mlp:9")
    with pytest.raises(CheckpointError, match=r"a\.safetensors doesn't hold the weights of 'mlp:9'"):
        saved.load(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="can't be read as safetensors"):
        saved.load(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="can't be read as safetensors"):
        saved.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="doesn't say what model it is of"):
        saved.load(path)
    with pytest.raises(CheckpointError, match="has no finished student"):
        saved.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mlp:9000000", r", where it takes \["),
        ("warm:5:mlp:9000000", r", where it takes \["),
        ("mlp:4000000000", "4000000000 wide, where 10000000 is the most"),
        ("transformer:4000000000x16", "tensors for 4000000000 blocks"),
    ],
)
def test_a_net_that_is_larger_than_its_weights_takes_no_memory(tmp_path, spec, words):
    data = examples("table")
    path = export(build("mlp:8", data), tmp_path / "a.safetensors", to="safetensors", examples=data, spec=spec)
    with pytest.raises(CheckpointError, match=words):
        saved.load(path)


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "modality"), KINDS)
def test_onnx_answers_as_the_learner(tmp_path, capfd, spec, modality):
    data = examples(modality)
    learner = build(spec, data, seed=3).train()
    learner.tap("hidden", learner.candidates()[1])
    path = export(learner, tmp_path / "student", to="onnx", examples=data, spec=spec, logits=True)
    assert learner.training
    assert capfd.readouterr() == ("", "")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    properties = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert properties["classes"] == ["b", "a", "c"]
    assert properties["didact"]["spec"] == spec
    assert sorted(p.name for p in tmp_path.iterdir()) == ["student.onnx", "student.onnx.json", "student.onnx.py"]
    for size in (1, 6):
        feed, few = raw(data.select(torch.arange(size)))
        found, expected = run(path, feed), answer(learner, few)
        assert list(found) == ["probabilities", "label", "logits"]
        np.testing.assert_allclose(found["probabilities"], expected.double().softmax(1), atol=1e-5)
        np.testing.assert_allclose(found["logits"], expected, rtol=1e-4, atol=1e-4)
        assert found["label"].tolist() == [CLASSES[place] for place in expected.argmax(1)]
    assert np.asarray(expected).std() > 1e-3
    assert len(learner(data.batch()).features) == 2


def test_onnx_of_a_regression_is_a_prediction_in_the_users_unit(tmp_path):
    data = dataclasses.replace(examples("table", task="regression"), scale=Scale(200_000.0, 80_000.0))
    learner = build("mlp:4", data)
    path = export(learner, tmp_path / "a.onnx", to="onnx", examples=data)
    feed, rows = raw(data)
    found = run(path, feed)
    assert list(found) == ["prediction"]
    np.testing.assert_allclose(found["prediction"], answer(learner, rows).double() * 80_000 + 200_000, rtol=1e-6)
    with pytest.raises(ConfigError, match="logits is set, but the learner answers a regression"):
        export(learner, tmp_path / "a.onnx", to="onnx", examples=data, logits=True)


@pytest.mark.parametrize("modality", ["table", "image", "text"])
def test_what_a_graph_takes_is_told_beside_it(tmp_path, modality):
    data = examples(modality)
    path = export(build("mlp:4", data), tmp_path / "a.onnx", to="onnx", examples=data)
    facts = json.loads((tmp_path / "a.onnx.json").read_text())
    session = onnxruntime.InferenceSession(str(path))
    assert {one.name for one in session.get_inputs()} <= {one["name"] for one in facts["inputs"]}
    assert [one.name for one in session.get_outputs()] == [one["name"] for one in facts["outputs"]]
    assert facts["outputs"][0]["type"] == "float32 [batch, 3]"
    assert facts["classes"] == ["b", "a", "c"]
    assert all(sentence.endswith(".") for sentence in facts["not_in_the_graph"])


@pytest.mark.parametrize(
    "layers", [[nn.Flatten(), nn.Linear(3, 4), nn.GELU()], [nn.Linear(3, 3, bias=False)], [nn.Linear(3, 3), nn.ReLU()]]
)
def test_a_module_with_other_layers_is_left_to_torchs_exporter(layers):
    assert onnx_layers.net_of(nn.Sequential(*layers), (3,)) is None
    assert onnx_layers.net_of(nn.Linear(3, 3), (2, 3)) is None
    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda _module, _given, found: found + 1)
    assert onnx_layers.net_of(hooked, (3,)) is None
    assert onnx_layers.net_of(nn.Linear(3, 3), (3,)) is not None


def test_a_net_with_other_outputs_than_classes_is_refused(tmp_path):
    net = ModuleLearner(nn.Sequential(nn.Flatten(), nn.Linear(3, 5)))
    with pytest.raises(ConfigError, match="the learner gives 5 numbers where 3 belong"):
        export(net, tmp_path / "a", to="onnx", examples=examples("table"))
    assert list(tmp_path.iterdir()) == []


def other_weights(monkeypatch, data):
    net_of, other = onnx_layers.net_of, onnx_export._Answering(build("mlp:4", data, seed=9), data).module
    monkeypatch.setattr(onnx_layers, "net_of", lambda _module, shape: net_of(other, shape))


def other_encoding(monkeypatch, _data):
    monkeypatch.setattr(onnx_graph, "FLOAT32", 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_weights, r"differs from the learner by 0\.\d+, more than 1e-05"),
        (other_encoding, "reads rows differently"),
    ],
)
def test_a_graph_that_computes_something_else_is_not_kept(tmp_path, monkeypatch, change, message):
    data = examples("table")
    (tmp_path / "a.onnx").write_text("what was there")
    change(monkeypatch, data)
    with pytest.raises(DidactError, match=message):
        export(build("mlp:4", data), tmp_path / "a.onnx", to="onnx", examples=data)
    assert (tmp_path / "a.onnx").read_text() == "what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def test_what_cannot_be_a_graph_says_why(tmp_path):
    class Stubborn(nn.Module):
        def forward(self, x):
            return x[:, :3] if float(x.sum()) > 0 else -x[:, :3]

    with pytest.raises(DidactError, match=r"can't be turned into ONNX: .*'safetensors' would work"):
        export(ModuleLearner(Stubborn()), tmp_path / "a", to="onnx", examples=examples("table"))
    learner = ModuleLearner(nn.Linear(3, 3), inputs=("pixels",))
    with pytest.raises(ConfigError, match="the learner takes pixels, of which only x can be exported"):
        export(learner, tmp_path / "a", to="onnx", examples=examples("table"))
    with pytest.raises(ConfigError, match=r"to is 'onx'.*Did you mean onnx"):
        export(learner, tmp_path / "a", to="onx", examples=examples("table"))
    assert list(tmp_path.iterdir()) == []


def save_text_model(path):
    torch.manual_seed(0)
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *(f"w{i}" for i in range(28))])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(path)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        initializer_range=0.5,
        num_labels=3,
    )
    BertForSequenceClassification(config).save_pretrained(path)


@pytest.mark.slow
def test_hugging_face_text_models_go_back_and_into_onnx(tmp_path, capfd):
    save_text_model(tmp_path / "from")
    capfd.readouterr()
    data = examples("text")
    learner = build(f"hf:{tmp_path / 'from'}", data)
    with torch.no_grad():
        learner.head.weight.add_(1.0)
    path = export(learner, tmp_path / "to", to="hf", examples=data)
    graph = export(learner, tmp_path / "graph", to="onnx", examples=data)
    assert capfd.readouterr() == ("", "")
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    assert model.config.id2label == {0: "b", 1: "a", 2: "c"}
    assert model.config.label2id == {"b": 0, "a": 1, "c": 2}
    tokens = {name: data.tensors[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(model(**tokens).logits, answer(learner, data))
    assert AutoTokenizer.from_pretrained(path)("w3 w0")["input_ids"] == [5, 2]
    loaded = huggingface.load_teacher(str(path), data)
    assert loaded.classes == CLASSES
    torch.testing.assert_close(answer(loaded.learner, data), answer(learner, data))
    found = run(graph, raw(data)[0])["probabilities"]
    np.testing.assert_allclose(found, answer(learner, data).softmax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_hugging_face_image_models_go_back_and_into_onnx(tmp_path):
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.5,
        num_labels=3,
    )
    ViTForImageClassification(config).save_pretrained(tmp_path / "from")
    processor = {"size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "from" / "preprocessor_config.json").write_text(json.dumps(processor))
    data = examples("image")
    learner = build(f"hf:{tmp_path / 'from'}", data)
    path = export(learner, tmp_path / "to", to="hf", examples=data)
    torch.testing.assert_close(answer(huggingface.load_teacher(str(path), data).learner, data), answer(learner, data))
    graph = export(learner, tmp_path / "graph", to="onnx", examples=data)
    feed, data = raw(data)
    np.testing.assert_allclose(
        run(graph, feed)["probabilities"], answer(learner, data).softmax(1), rtol=1e-4, atol=1e-5
    )


def test_other_learners_cannot_be_hugging_face_models(tmp_path):
    data = examples("table")
    with pytest.raises(ConfigError, match=r"to is 'hf', but the learner is a Sequential.*'safetensors' and 'onnx'"):
        export(build("mlp:4", data), tmp_path / "to", to="hf", examples=data)
    assert not (tmp_path / "to").exists()
