"""Files that are broken, edited or beyond all measure, and numbers that cannot be: a sentence each, no traceback."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from blobs import DATA
from conftest import few
from didact import files
from didact.cli import main
from didact.experiment import records
from didact.learners import foreign
from didact.learners.export import describe
from didact.parts.models import build
from didact.worlds import load

X, LABEL = DATA.tensors["x"], DATA.tensors["label"]
DEEP = 100_000
"""How deeply some documents are nested."""


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Run a command that must be refused, in a directory of its own; gives back its one sentence."""
    monkeypatch.chdir(tmp_path)
    write_table()

    def run(*words, status=2):
        capsys.readouterr()
        assert main(list(words)) == status
        sentence = capsys.readouterr().err.strip()
        assert "Traceback" not in sentence
        assert sentence.endswith((".", "?")) or status == 3, sentence
        return sentence

    return run


def write_table():
    rows = [[*(f"{v:.4f}" for v in x), DATA.classes[y]] for x, y in zip(X.tolist(), LABEL.tolist(), strict=True)]
    Path("table.csv").write_text("\n".join(map(",".join, [["a", "b", "c", "d", "kind"], *rows])) + "\n")


TABLE = ("--data", "table.csv", "--target", "kind", "--no-progress")
STEPS = ("--steps", "4")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run with a kept teacher that was killed at step 25, with checkpoints at 10 and 20."""
    from didact.methods.distillation.distill import Distill

    def kill(self):
        if self.step == 25:
            raise KeyError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("killed"))
        patch.setattr(Distill, "after_step", kill)
        write_table()
        words = ["--teacher", "mlp:4", "--teacher-epochs", "1", "--steps", "40", "--checkpoint-every", "10"]
        with pytest.raises(KeyError):
            main(["distill", *TABLE, "--student", "mlp:4", *words, "--out", "run"])
        return Path("run").resolve()


@pytest.fixture
def stopped(said, killed):
    """A copy of `killed` in the directory of the test."""
    return Path(shutil.copytree(killed, "run"))


def reseal(directory):
    """Make the checksums of a directory fit its files, as an author who means ill would."""
    (directory / files.MANIFEST).unlink()
    files._seal(directory)


def nested(opening, closing, middle=""):
    return opening * DEEP + middle + closing * DEEP


# ---- what a run kept


COSTS = {
    "cut off": '{"steps": 3',
    "a list": "[3]",
    "another field": '{"steps": 3, "joy": 1}',
    "a word": '{"steps": "three"}',
    "below zero": '{"steps": -1}',
    "not a number": '{"seconds": NaN}',
    "nested": nested("[", "]"),
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("kind", few(COSTS, 3))
def test_the_cost_of_a_kept_teacher(kind, sealed, stopped, said):
    (kept,) = (stopped / "teachers").iterdir()
    content = COSTS[kind]
    (kept / "cost.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    if sealed:
        reseal(kept)
    found = said("resume", "run", "--no-progress")
    assert "cost.json" in found
    assert "delete" in found.lower()


RECORDS = {"no step": '{"loss/total": 1.0}', "a word": '{"step": "three"}', "a list": "[1, 2]", "cut off": '{"step": 1'}


@pytest.mark.parametrize("kind", few([*RECORDS, "nested"], 2))
def test_records_of_a_run(kind, stopped, said):
    file = stopped / "metrics.jsonl"
    file.write_text("\n".join([RECORDS.get(kind, nested("[", "]")), *file.read_text().splitlines()]) + "\n")
    found = said("resume", "run", "--no-progress")
    assert f"{file}, line 1" in found
    assert "delete it" in found
    file.unlink()
    assert main(["resume", "run", "--no-progress"]) == 0


def test_the_report_of_broken_records(stopped, capsys):
    (stopped / "metrics.jsonl").write_text("\n".join([*RECORDS.values(), nested("[", "]"), '{"step": 2}']))
    (stopped / "result.json").write_text(nested('{"a":', "}", "1"))
    assert main(["report", "run"]) in (0, 2)


SETTINGS = {
    "another optimizer": {"optimizer": {"name": "sgd"}},
    "one without a state": {"optimizer": {"name": "sgd", "momentum": 0.0}},
    "an unknown one": {"optimizer": {"name": "lion"}},
    "a word for a rate": {"optimizer": {"lr": "fast"}},
    "a list": {"optimizer": ["sgd"]},
    "another student": {"student": "mlp:5"},
    "another batch size": {"batches": {"size": "many"}},
    "a seed of its own": {"seed": 2**64},
    "epochs without end": {"budget": {"epochs": float("inf")}},
    "columns as a number": {"data": {"columns": 5}},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_configuration_of_a_run_edited(kind, stopped, said):
    document = json.loads((stopped / "config.json").read_text())
    for name, value in SETTINGS[kind].items():
        own = document["config"].get(name)
        document["config"][name] = {**own, **value} if isinstance(value, dict) else value
    records.write_json(stopped / "config.json", document)
    assert "run/" in said("resume", "run", "--no-progress")


DOCUMENTS = {
    "nested": nested('{"a":', "}", "1"),
    "nested lists": nested("[", "]"),
    "a number": "5",
    "no data": '{"config": {"method": "distill", "teacher": "mlp:4", "data": "table.csv", "target": "kind"}}',
    "no configuration": '{"data": {}}',
    "config is a list": '{"config": [], "data": {}}',
    "config of another shape": '{"config": {"method": ["distill"]}, "data": {}}',
    "data is a list": '{"config": {"method": "distill", "teacher": "mlp:4"}, "data": []}',
    "objects is a number": '{"config": {"method": "distill", "teacher": "mlp:4"}, "data": {}, "objects": 5}',
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_document_of_a_run(kind, stopped, said):
    (stopped / "config.json").write_text(DOCUMENTS[kind])
    wanted = f"not those that the run {stopped.resolve()} started with" if kind == "no data" else "config.json"
    assert wanted in said("resume", "run", "--no-progress")
    shutil.rmtree(stopped / "checkpoints")
    assert wanted in said("resume", "run", "--no-progress")


@pytest.mark.parametrize("content", [nested("[", "]"), nested('{"a":', "}", "1"), "[]", "{}", "5"])
def test_the_state_of_a_checkpoint(content, stopped, said):
    for path in (stopped / "checkpoints").iterdir():
        (path / "state.json").write_text(content)
        reseal(path)
    assert "checkpoint" in said("resume", "run", "--no-progress")


@pytest.mark.parametrize("content", few(['{"../../table.csv": "0"}', nested("[", "]"), '{"a": 5}', "[]", "5"], 2))
def test_the_checksums_of_a_checkpoint(content, stopped, said):
    for path in (stopped / "checkpoints").iterdir():
        (path / files.MANIFEST).write_text(content)
    assert "checkpoint" in said("resume", "run", "--no-progress")


# ---- numbers that cannot be


NUMBERS = [
    ["--seed", str(2**64)],
    ["--seed", str(2**63)],
    ["--seed", "-1"],
    ["--seed", "1e400"],
    ["--seed", "9" * 5000],
    ["--split-seed", str(2**64)],
    ["--epochs", "inf"],
    ["--epochs", "nan"],
    ["--seconds", "inf"],
    ["--budget", "epochs=inf"],
    ["--steps", "inf"],
    ["--lr", "inf"],
    ["--lr", "nan"],
    ["--batch-size", "-3"],
    ["--momentum", "nan"],
    ["--test", "nan"],
    ["--validation", "inf"],
    ["--student", "mlp:-4"],
    ["--student", f"mlp:{10**9},{10**9}"],
    ["--student", f"mlp:{10**30}"],
    ["--student", f"transformer:{10**7}x8"],
    ["--student", f"transformer:2x{10**9}"],
    ["--student", "mlp:" + ",".join(["4"] * 100_000)],
]


@pytest.mark.parametrize("words", NUMBERS, ids=lambda words: " ".join(words)[:40])
def test_numbers_that_cannot_be(words, said):
    found = said("run", "supervised", *TABLE, "--steps", "2", *words)
    assert words[0].removeprefix("--").replace("-", "_") in found
    assert len(found) < 6000


@pytest.mark.parametrize("words", [["--seeds", str(2**64)], ["--seeds", f"0-{10**12}"], ["--seeds", "1," * 5 + "1"]])
def test_seeds_of_a_comparison(words, said):
    assert "seed" in said("compare", "supervised", *TABLE, "--steps", "2", *words)


# ---- documents beyond all measure


CONFIGURATIONS = {
    "lists.toml": "a = " + nested("[", "]"),
    "tables.toml": "a = " + nested("{b=", "}", "1"),
    "keys.toml": ".".join(["a"] * DEEP) + " = 1",
    "shallow.toml": "options = " + "{b=" * 90 + "1" + "}" * 90,
    "header.toml": "[" + ".".join(["a"] * DEEP) + "]\nb = 1",
    "lists.json": nested("[", "]"),
    "objects.json": nested('{"a":', "}", "1"),
    "number.toml": 'method = "supervised"\nseed = ' + "9" * 5000,
    "date.toml": 'method = "supervised"\nseed = 1979-05-27',
    "nul.json": "\0",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_file_of_configuration(name, said):
    Path(name).write_text(CONFIGURATIONS[name])
    assert said("run", "--config", name)


def test_a_file_of_configuration_without_end(said):
    with Path("big.toml").open("w") as file:
        file.truncate(3 << 30)
    assert "big.toml" in said("run", "--config", "big.toml")


def test_data_that_are_nested(said):
    Path("a.jsonl").write_text(nested("[", "]") + "\n")
    assert "a.jsonl, line 1" in said("run", "supervised", "--data", "a.jsonl", "--steps", "2")


def test_arrays_that_are_larger_than_their_file(said):
    import io
    import zipfile

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("label.npy", header.getvalue())
    assert "a.npz" in said("run", "supervised", "--data", "a.npz", "--steps", "2")


@pytest.mark.slow
def test_an_image_of_another_size_than_it_says(said):
    from PIL import Image

    for name in ("cat", "dog"):
        (Path("pets") / name).mkdir(parents=True)
    Image.new("1", (50_000, 50_000)).save("pets/cat/0.png")
    shutil.copy("pets/cat/0.png", "pets/dog/0.png")
    assert "0.png" in said("run", "supervised", "--data", "pets", "--steps", "2")


FACTS = {
    "negative": {"shape": [-8, -8]},
    "zero": {"shape": [0]},
    "huge": {"shape": [10**6, 10**6, 10**6]},
    "a word": {"shape": "64"},
    "true": {"shape": [True]},
    "many": {"shape": [1] * 1000},
    "fractions": {"shape": [0.5]},
    "classes": {"classes": "0123456789"},
    "more classes": {"classes": [str(i) for i in range(10**6 + 1)]},
    "nested config": {"config": {"a": 1}},
    "wide": {"spec": f"mlp:{10**9}"},
    "deep": {"spec": f"transformer:{10**9}x4"},
    "narrow": {"spec": "mlp:-4"},
    "empty": {"spec": ""},
    "vocabulary": {"vocabulary": 10**12},
}


@pytest.mark.parametrize("kind", few(FACTS, 3))
def test_what_a_file_says_of_its_student(kind, said):
    data = load("digits")
    facts = {**describe(data), "spec": "mlp:4", "config": {}} | FACTS[kind]
    files.write_tensors(Path("a.safetensors"), build("mlp:4", data).state_dict(), facts)
    if kind == "nested config":
        assert main(["export", "a.safetensors", "--to", "onnx"]) == 0
        return
    assert "a.safetensors" in said("export", "a.safetensors", "--to", "onnx")
    assert "a.safetensors" in said("distill", "--teacher", "a.safetensors", "--data", "digits", *STEPS)


@pytest.mark.parametrize("content", [nested("[", "]"), nested('{"a":', "}", "1"), "5", "[]", "null", "{"])
def test_metadata_of_another_kind(content, said):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, "a.safetensors", metadata={"didact": content})
    assert "a.safetensors" in said("export", "a.safetensors", "--to", "onnx")


# ---- a full disk


def test_a_full_disk_while_a_teacher_is_kept(said, monkeypatch):
    from safetensors import SafetensorError

    def full(tensors, path, metadata=None):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    words = ["--teacher", "mlp:4", "--teacher-epochs", "1", "--steps", "4", "--student", "mlp:4"]
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        found = said("distill", *TABLE, *words, "--out", "run", status=3)
    assert "disk is full" in found
    assert "didact resume RUN" in found
    assert main(["resume", "run", "--no-progress"]) == 0


# ---- models from elsewhere


def onnx_model(nodes, *, weights=(), x=(None, 4), y=(None, 3), **metadata):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, y)],
        list(weights),
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    helper.set_model_props(model, metadata)
    onnx.save(model, "a.onnx")


def linear(**given):
    from onnx import TensorProto, helper

    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 3], np.eye(4, 3).ravel())
    onnx_model([helper.make_node("MatMul", ["x", "w"], ["logits"])], weights=[weights], **given)


ONNX = ("distill", "--teacher", "a.onnx", *TABLE, *STEPS)

CLASSES = {
    "a number": "5",
    "an object": '{"ant": 1}',
    "a word": '"ant"',
    "null": "null",
    "cut off": '["ant", ',
    "lists": '[["ant"], ["bee"], ["cat"]]',
    "nested": nested("[", "]"),
    "long": json.dumps(["a" * 10**6, "bee", "cat"]),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_class_names_of_a_graph(kind, said):
    linear(classes=CLASSES[kind])
    assert "a.onnx gives its classes as" in said(*ONNX)


@pytest.mark.parametrize("classes", [["1", "2", "3"], ["ant", "ant", "cat"], [*"abc"] * 10**5])
def test_other_class_names_of_a_graph(classes, said):
    linear(classes=json.dumps(classes))
    found = said(*ONNX)
    assert "The teacher's classes are" in found
    assert len(found) < 3000


@pytest.mark.parametrize("shape", [(None, 10**12), (None, *[2] * 1000), (), (-1, -1, -1)])
def test_shapes_of_the_input_of_a_graph(shape, said):
    linear(x=shape)
    assert "a.onnx" in said(*ONNX)


@pytest.mark.parametrize("shape", [(None, 10**15), (None, -3), (-3, 3), ()])
def test_shapes_of_the_answer_of_a_graph(shape, said):
    """onnxruntime goes by what the operators give."""
    linear(y=shape)
    assert main(list(ONNX)) == 0


def test_an_answer_of_more_numbers_than_fit_into_memory(said):
    from onnx import TensorProto, helper

    size = helper.make_tensor("size", TensorProto.INT64, [2], [10**14, 3])
    onnx_model([helper.make_node("ConstantOfShape", ["size"], ["logits"])], weights=[size])
    assert "a.onnx failed on a batch of 2" in said(*ONNX)


def test_a_graph_that_never_ends(said, monkeypatch):
    from onnx import TensorProto, helper

    from didact.teachers import onnx_file

    monkeypatch.setattr(onnx_file, "PATIENCE", 1.0)
    monkeypatch.setattr(onnx_file, "PATIENCE_EACH", 0.0)
    scalar = {"c": TensorProto.BOOL, "i": TensorProto.INT64, "d": TensorProto.BOOL}
    info = {name: helper.make_tensor_value_info(name, kind, []) for name, kind in scalar.items()}
    maps = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]) for name in ("v", "w")}
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Neg", ["v"], ["w"])],
        "body",
        [info["i"], info["c"], maps["v"]],
        [info["d"], maps["w"]],
    )
    constants = [
        helper.make_tensor("n", TensorProto.INT64, [], [2**62]),
        helper.make_tensor("t", TensorProto.BOOL, [], [True]),
        helper.make_tensor("k", TensorProto.FLOAT, [4, 3], np.eye(4, 3).ravel()),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "k"], ["m"]),
        helper.make_node("Loop", ["n", "t", "m"], ["logits"], body=body),
    ]
    onnx_model(nodes, weights=constants)
    assert "a.onnx was stopped, as it took more than 1 seconds for 2 examples" in said(*ONNX)


def language_model(**changes):
    """A directory of a causal language model with a tokenizer, and words that teach it."""
    from tiny_language import save_model

    save_model(Path("model"))
    content = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps(content | changes))
    return ["run", "sft", "--student", "hf:model", "--data", "addition", "--steps", "1", "--no-progress"]


SIZES = {
    "layers": {"num_hidden_layers": 10**6},
    "nested layers": {"text_config": {"num_hidden_layers": 10**6}},
    "no layers": {"num_hidden_layers": -1},
    "width": {"hidden_size": 10**12},
    "negative width": {"hidden_size": -32},
    "vocabulary": {"vocab_size": 10**15},
    "heads": {"num_attention_heads": 0},
    "a word": {"num_hidden_layers": "two"},
    "a list": {"hidden_size": [32]},
    "nothing": {"vocab_size": None},
}


@pytest.mark.parametrize("kind", few(SIZES, 3))
def test_sizes_that_a_model_says_of_itself(kind, said):
    assert "model" in said(*language_model(**SIZES[kind]))


WIDE = {
    "hidden_size": {"hidden_size": 10**6, "num_attention_heads": 4, "head_dim": 8},
    "intermediate_size": {"intermediate_size": 10**9},
    "vocab_size": {"vocab_size": 10**8},
}


@pytest.mark.parametrize("kind", WIDE)
def test_a_model_that_would_fill_the_memory(kind, said):
    found = said(*language_model(**WIDE[kind]))
    described = int(re.search(r"describes a model of ([\d,]+) parameters", found)[1].replace(",", ""))
    assert described > 32 * WIDE[kind][kind]
    held = sum(tensor.numel() for tensor in load_file("model/model.safetensors").values())
    assert f"the weights beside it are {held:,} numbers" in found


def test_a_decoder_of_ours_that_would_fill_the_memory(said):
    from didact.learners.causal import save_causal
    from didact.parts.models import build_causal

    save_causal(build_causal("decoder:1x32:32"), "model")
    content = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps(content | {"intermediate_size": 10**9}))
    Path("model", files.MANIFEST).unlink()
    words = ["run", "sft", "--student", "hf:model", "--data", "addition", "--steps", "1", "--no-progress"]
    assert re.search(r"describes a model of 96,000,\d{3},\d{3} parameters", said(*words))


def test_a_model_that_is_too_large_for_the_machine(said, monkeypatch):
    words, pages = language_model(), {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(foreign, "os", SimpleNamespace(sysconf=pages.__getitem__))
    assert re.search(r"'model' has [\d,]+ parameters, which take 0\.0 GiB; this machine has 0\.0", said(*words))


@pytest.mark.parametrize("content", few([nested("[", "]"), nested('{"a":', "}", "1"), "5", "[]", "{"], 2))
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_documents_of_a_model(name, content, said):
    words = language_model()
    Path("model", name).write_text(content)
    assert "model" in said(*words)


@pytest.mark.parametrize("name", ["chat_template.jinja", "additional_chat_templates/tool.jinja"])
def test_a_chat_template_of_two_gibibytes(name, said):
    words = language_model()
    Path("model", name).parent.mkdir(exist_ok=True)
    with Path("model", name).open("w") as file:
        file.truncate(2 << 30)
    assert f"model/{name} has 2048 MiB" in said(*words)


@pytest.mark.parametrize("template", ["{{ 'a' * 10**15 }}", "{% for i in range(10**9) %}a{% endfor %}", "{{ a.b.c }}"])
def test_a_chat_template_that_cannot_be_filled_in(template, said):
    from tiny_language import save_tokenizer

    words = language_model()
    save_tokenizer(Path("model"), template=template)
    rows = [{"messages": [{"role": "user", "content": f"a{i}"}], "completion": "b"} for i in range(40)]
    Path("talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "chat template" in said(*words, "--data", "talk.jsonl")
