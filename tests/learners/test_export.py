"""Exports answer as the learner did."""

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
from didact.learners import ModuleLearner, huggingface
from didact.learners import export as exports
from didact.learners.export import export
from didact.parts import saved
from didact.parts.models import build
from didact.preprocessing import Category, Number, TablePreprocessing
from didact.types import Examples

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
    known = None if modality == "image" else TablePreprocessing((Number(name="size", fill=2.5), colour))
    x = torch.rand(shape, generator=generator) * 3 + 1
    return Examples(tensors={"x": x, **ids}, task=task, modality=modality, classes=classes, preprocessing=known)


KINDS = [("mlp:8", "table"), ("cnn:4,8", "image"), ("transformer:1x16", "image"), ("transformer:1x16", "text")]


def answer(learner, data):
    with torch.no_grad():
        return learner.eval()(data.batch()).logits


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


@pytest.mark.parametrize(("spec", "modality"), KINDS)
def test_onnx_answers_as_the_learner(tmp_path, capfd, spec, modality):
    data = examples(modality)
    learner = build(spec, data, seed=3).train()
    learner.tap("hidden", learner.candidates()[1])
    path = export(learner, tmp_path / "student", to="onnx", examples=data, spec=spec)
    assert learner.training
    assert capfd.readouterr() == ("", "")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    properties = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert properties["classes"] == ["b", "a", "c"]
    assert properties["didact"]["spec"] == spec
    assert [p.name for p in tmp_path.iterdir()] == ["student.onnx"]
    session = onnxruntime.InferenceSession(str(path))
    assert [out.name for out in session.get_outputs()] == ["logits"]
    names = [part.name for part in session.get_inputs()]
    for size in (1, 6):
        few = data.select(torch.arange(size))
        (logits,) = session.run(None, {name: few.tensors[name].numpy() for name in names})
        np.testing.assert_allclose(logits, answer(learner, few), rtol=1e-4, atol=1e-4)
    assert np.asarray(answer(learner, data)).std() > 1e-3
    assert len(learner(data.batch()).features) == 2


def test_onnx_of_a_regression_is_a_prediction(tmp_path):
    data = examples("table", task="regression")
    path = export(build("mlp:4", data), tmp_path / "a.onnx", to="onnx", examples=data)
    session = onnxruntime.InferenceSession(str(path))
    assert [out.name for out in session.get_outputs()] == ["prediction"]
    assert session.run(None, {"x": data.tensors["x"].numpy()})[0].shape == (6, 1)


def test_a_graph_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    data = examples("table")
    learner = build("mlp:4", data)
    (tmp_path / "a.onnx").write_text("what was there")
    monkeypatch.setattr(exports, "TOLERANCE", -1.0)
    with pytest.raises(DidactError, match=r"The ONNX graph differs from the learner by \d.*, more than -1"):
        export(learner, tmp_path / "a.onnx", to="onnx", examples=data)
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
    session = onnxruntime.InferenceSession(str(graph))
    (logits,) = session.run(None, {name: tensor.numpy() for name, tensor in tokens.items()})
    np.testing.assert_allclose(logits, answer(learner, data), rtol=1e-4, atol=1e-4)


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
    (logits,) = onnxruntime.InferenceSession(str(graph)).run(None, {"x": data.tensors["x"].numpy()})
    np.testing.assert_allclose(logits, answer(learner, data), rtol=1e-4, atol=1e-4)


def test_other_learners_cannot_be_hugging_face_models(tmp_path):
    data = examples("table")
    with pytest.raises(ConfigError, match=r"to is 'hf', but the learner is a Sequential.*'safetensors' and 'onnx'"):
        export(build("mlp:4", data), tmp_path / "to", to="hf", examples=data)
    assert not (tmp_path / "to").exists()
