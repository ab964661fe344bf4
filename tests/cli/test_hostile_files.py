"""Files by an author who means ill: none runs code, none downloads, and each is refused in a sentence.

`trap` is a package where the command is given. It leaves a mark as soon as any of it is imported or called, and
whatever asks for an address on the network leaves one too.
"""

import json
import os
import pickle
import shutil
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import didact
from didact import files
from didact.cli import main
from didact.errors import TrustError
from didact.experiment import records
from didact.learners.export import describe
from didact.parts import saved
from didact.parts.models import build
from didact.parts.student import Student
from didact.worlds.digits.plain import digits
from tiny_language import save_model, save_tokenizer

TRAP = """
from pathlib import Path
Path({mark!r}).touch()
from didact.parts import saved
from didact.parts.models import build
from didact.parts.student import Student
def make(examples):
    return build("mlp:4", examples).module
def judge(text, question):
    return 1.0
"""
METHOD = "import trap\nfrom didact.methods.supervised.supervised import Config\n"
RUN = {"method": "supervised", "data": "digits", "steps": 2, "student": "mlp:4"}
QUESTIONS = {"method": "grpo", "data": "addition", "steps": 1, "student": "decoder:1x16", "verifier": "exact"}


@pytest.fixture
def sprung(tmp_path, monkeypatch):
    """What was imported, called or looked up on the network, in a directory of its own with a trap in it."""
    mark = tmp_path / "mark"
    (tmp_path / "work" / "trap").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(tmp_path / "work")
    Path("trap/__init__.py").write_text(TRAP.format(mark=str(mark)))
    Path("trap/method.py").write_text(METHOD)
    Path("evil.py").write_text(METHOD)
    called = []

    def reached(*address, **_):
        called.append(address)
        raise OSError("There is no network.")

    monkeypatch.setattr(socket, "getaddrinfo", reached)
    monkeypatch.setattr(socket.socket, "connect", reached)
    yield lambda: [*called, *([mark] if mark.exists() else [])]
    for name in [name for name in sys.modules if name.partition(".")[0] == "trap"]:
        del sys.modules[name]


def student(path, spec, **facts):
    """Weights of a net for digits, with metadata of the author's choice."""
    data = digits()
    files.write_tensors(
        Path(path), build("mlp:4", data).state_dict(), {**describe(data), "spec": spec, "config": {}} | facts
    )
    return str(path)


def finished_run(spec):
    """A run's directory whose student is built by a spec."""
    Path("down").mkdir()
    records.write_json(Path("down/config.json"), {"config": RUN, "data": {}})
    Path("down/metrics.jsonl").write_text("")
    saved.save(Student(learner=build("mlp:4", digits()), like=digits(), spec=spec), Path("down/student"))


def stored(settings, **changes):
    """A run's directory that is to be resumed."""
    document = {"config": {**settings, **changes}, "data": {"fingerprint": "1"}, "objects": []}
    records.write_json(Path("down/config.json"), document)
    return ["resume", "down"]


def classifier(**changes):
    """A directory of a Hugging Face classifier of images."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=8,
        patch_size=4,
        num_channels=1,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=10,
    )
    ViTForImageClassification(config).save_pretrained("model")
    Path("model/preprocessor_config.json").write_text(json.dumps({"size": {"height": 8, "width": 8}}))
    rewrite("model/config.json", **changes)
    return ["distill", "--teacher", "hf:model", "--data", "digits", "--steps", "1"]


def language_model(**changes):
    """A directory of a causal language model."""
    save_model(Path("model"))
    rewrite("model/config.json", **changes)
    return ["run", "sft", "--student", "hf:model", "--data", "addition", "--steps", "1"]


def rewrite(path, **changes):
    content = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps(content | changes))


def code_beside(name):
    Path("model", name).write_text(Path("trap/__init__.py").read_text())


def skops_type():
    """An estimator with a function of the author's as a part, and a configuration that trusts it."""
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(FunctionTransformer(os.system), "teacher.skops")
    return stored(RUN, method="distill", teacher="teacher.skops", trust=["posix.system", "os.system", "trap.make"])


def outside_weights():
    """A graph whose weights are said to lie in a file elsewhere."""
    import onnx
    from onnx import TensorProto, helper

    Path("secret").write_bytes(np.zeros(640, np.float32).tobytes())
    weights = helper.make_tensor("w", TensorProto.FLOAT, [64, 10], np.zeros(640, np.float32))
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../secret")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 10])],
        [weights],
    )
    Path("down").mkdir()
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), "down/a.onnx")
    return ["distill", "--teacher", "down/a.onnx", "--data", "digits", "--steps", "1"]


class Bomb:
    def __reduce__(self):
        return (__import__, ("trap",))


def pickled(name):
    Path(name).write_bytes(pickle.dumps(Bomb()))
    return name


def torch_archive(name):
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    return name


def teacher(path):
    return ["distill", "--teacher", path, "--data", "digits", "--steps", "1"]


def config_file(words):
    Path("run.toml").write_text(words)
    return ["run", "--config", "run.toml", "--steps", "1"]


def with_run(spec, words):
    finished_run(spec)
    return words


def with_code(words, *names):
    for name in names:
        code_beside(name)
    return words


def adapter(words):
    Path("model/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/model", "r": 8}))
    return words


def adapter_alone():
    Path("model").mkdir()
    Path("model/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/model", "r": 8}))
    torch.save({}, "model/adapter_model.bin")
    return ["run", "sft", "--student", "hf:model", "--data", "addition", "--steps", "1"]


def only_pickles(words):
    Path("model/model.safetensors").unlink()
    pickled("model/pytorch_model.bin")
    return words


def index_of(shard, words):
    Path("model/model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"a": shard}}))
    pickled("model/pytorch_model.bin")
    return words


def own_tokenizer(words):
    rewrite("model/tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.Mine", None]}, tokenizer_class="Mine")
    Path("model/tokenizer.json").unlink()
    code_beside("mine.py")
    return words


def conversations(template):
    """Questions with messages, which a template of the author's puts into words."""
    save_model(Path("model"), tokenizer=False)
    save_tokenizer(Path("model"), template=template)
    row = {"messages": [{"role": "user", "content": "a"}], "completion": "b"}
    Path("talk.jsonl").write_text("".join(json.dumps(row | {"id": i}) + "\n" for i in range(40)))
    return ["run", "sft", "--student", "hf:model", "--data", "talk.jsonl", "--steps", "1", "--id-column", "id"]


def remote_data():
    Path("set").mkdir()
    Path("set/README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: https://evil.example/a.csv\n---\n"
    )
    return stored(RUN, data="hf:set")


def pickled_arrays():
    np.savez("a.npz", x=np.array([Bomb()] * 9, dtype=object), label=np.arange(9))
    return ["run", "supervised", "--data", "a.npz", "--steps", "1"]


def pickled_checkpoint():
    words = stored(RUN)
    Path("down/checkpoints/step-0000000001").mkdir(parents=True)
    pickled("down/checkpoints/step-0000000001/tensors.safetensors")
    pickled("down/checkpoints/step-0000000001/state.json")
    return words


def hub_text(spec):
    data = didact.worlds.load("stdlib:text")
    tensors = build("mlp:4", data).state_dict()
    files.write_tensors(Path("a.safetensors"), tensors, {**describe(data), "spec": spec, "config": {}})
    return ["distill", "--teacher", "a.safetensors", "--data", "stdlib:text", "--student", "mlp:4", "--steps", "1"]


HOSTILE = {
    "a student's spec names a factory, taken as a teacher": lambda: teacher(student("a.safetensors", "trap:make")),
    "a student's spec names a factory, exported": lambda: ["export", student("a.safetensors", "trap:make")],
    "a run's student names a factory, exported": lambda: with_run("trap:make", ["export", "down", "--to", "onnx"]),
    "a run's student names a factory, taken as a teacher": lambda: with_run("trap:make", teacher("down")),
    "a run's student names a factory of the standard library": lambda: with_run("os:abort", ["export", "down"]),
    "a student's spec names a model of the hub": lambda: ["export", student("a.safetensors", "hf:evil/model")],
    "a student's spec names a model of the hub, for its tokenizer": lambda: hub_text("hf:evil/model"),
    "a student's spec hides a factory behind noise": lambda: teacher(student("a.safetensors", "noisy:0.3:trap:make")),
    "a student's spec hides a factory in a committee": lambda: teacher(student("a.safetensors", "mlp:4+trap:make")),
    "a run's method is a file": lambda: stored(RUN, method="evil.py"),
    "a run's method is a module in a package": lambda: stored(RUN, method="trap.method"),
    "a run's student is a factory": lambda: stored(RUN, student="trap:make"),
    "a run's student is a model of the hub": lambda: stored(RUN, student="hf:evil/model"),
    "a run's teacher is a factory": lambda: stored(RUN, method="distill", teacher="trap:make"),
    "a run's teacher is a factory behind noise": lambda: stored(RUN, method="distill", teacher="noisy:0.3:trap:make"),
    "a run's teacher is an adversarial factory": lambda: stored(RUN, method="distill", teacher="adversarial:trap:make"),
    "a run's teachers are a committee with a factory": lambda: stored(RUN, method="distill", teacher="mlp:4+trap:make"),
    "a run's teacher is a model of the hub": lambda: stored(RUN, method="distill", teacher="hf:evil/model"),
    "a run's teacher is a file whose spec is a factory": lambda: stored(
        RUN, method="distill", teacher=student("a.safetensors", "trap:make")
    ),
    "a run's peers are made by a factory": lambda: stored(
        RUN, method="mutual_learning", options={"peers": "trap:make"}
    ),
    "a run's data lie on the hub": lambda: stored(RUN, data="hf:evil/data"),
    "a run's data lie in a folder that speaks of an address": remote_data,
    "a run's questions lie on the hub": lambda: stored(QUESTIONS, data="hf:evil/data"),
    "a run's monitor is code": lambda: stored(RUN, monitors=["trap:make=stop"]),
    "a run's verifier is a function": lambda: stored(QUESTIONS, verifier="trap:judge"),
    "a run's verifier is a function in a sum": lambda: stored(QUESTIONS, verifier="numeric+0.1*trap:judge"),
    "a run's verifier is a function behind a gate": lambda: stored(QUESTIONS, verifier="gate(exact,trap:judge)"),
    "a run's verifier has weak walls": lambda: stored(QUESTIONS, verifier="python:share:weak"),
    "a run's language model is of the hub": lambda: stored(QUESTIONS, student="hf:evil/model"),
    "a run's language model has adapters and is of the hub": lambda: stored(QUESTIONS, student="lora:8:hf:evil/model"),
    "a run's language model of the hub is warmed": lambda: stored(QUESTIONS, student="warm:5:hf:evil/model"),
    "a run's language teacher is of the hub": lambda: stored(QUESTIONS, method="gkd", teacher="hf:evil/model"),
    "a run trusts a function in an estimator": skops_type,
    "a run's checkpoints are pickles": pickled_checkpoint,
    "a configuration's method is a file": lambda: config_file('method = "evil.py"\ndata = "digits"\n'),
    "a configuration's method is a module": lambda: config_file('method = "trap.method"\ndata = "digits"\n'),
    "a configuration's student is a factory": lambda: config_file(
        'method = "supervised"\ndata = "digits"\nstudent = "trap:make"\n'
    ),
    "a configuration trusts what it asks for": lambda: config_file(
        'method = "supervised"\nstudent = "trap:make"\ntrust = ["trap:make"]\n'
    ),
    "a classifier comes with code": lambda: with_code(
        classifier(
            model_type="mine", auto_map={"AutoConfig": "mine.Mine", "AutoModelForImageClassification": "mine.A"}
        ),
        "mine.py",
    ),
    "a language model comes with code": lambda: with_code(
        language_model(model_type="mine", auto_map={"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.A"}),
        "mine.py",
    ),
    "a language model's code lies on the hub": lambda: language_model(
        model_type="mine", auto_map={"AutoConfig": "evil/code--mine.Mine", "AutoModelForCausalLM": "evil/code--mine.A"}
    ),
    "a language model's attention lies on the hub": lambda: language_model(attn_implementation="evil/kernels"),
    "a language model is an adapter to one of the hub": lambda: adapter(language_model()),
    "an adapter without a model of its own": adapter_alone,
    "a tokenizer comes with code": lambda: own_tokenizer(language_model()),
    "a language model's weights are a pickle": lambda: only_pickles(language_model()),
    "an index of weights names a pickle": lambda: index_of("pytorch_model.bin", language_model()),
    "an index of weights names a file elsewhere": lambda: index_of("../a.safetensors", language_model()),
    "a chat template climbs to the interpreter": lambda: conversations(
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('touch mark') }}"
    ),
    "a teacher is a pickle": lambda: teacher(pickled("a.pkl")),
    "a teacher is a pickle by another name": lambda: teacher(pickled("a.skops")),
    "a teacher is an archive of torch by another name": lambda: teacher(torch_archive("a.onnx")),
    "a graph's weights lie outside of its folder": outside_weights,
    "an array is a pickle": pickled_arrays,
}
"""What was tried, and how: each gives the words of a command."""


@pytest.mark.parametrize("tried", HOSTILE)
def test_it_is_refused_in_a_sentence_and_nothing_has_happened(tried, sprung, capsys):
    words = HOSTILE[tried]()
    capsys.readouterr()
    before = {path for path in Path().rglob("*") if "__pycache__" not in path.parts}
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert sprung() == []
    assert said.endswith((".", "?", ")")), said
    assert len(said) < 700, said
    assert {path for path in Path().rglob("*") if "__pycache__" not in path.parts} == before, "something was written"


def test_there_are_many():
    assert len(HOSTILE) >= 30


def test_the_report_of_a_hostile_run_is_only_text(sprung):
    script = "<script>document.title='sprung'</script>"
    stored(RUN, student="trap:make", method="evil.py", target=script, data="{{ 7 * 191 }}")
    records.write_json(Path("down/result.json"), {"reason": script, "notes": [script], "metrics": {script: 1.0}})
    Path("down/metrics.jsonl").write_text(json.dumps({"step": 1, "loss/total": 1.0, f"eval/{script}": 0.5}) + "\n")
    assert main(["report", "down"]) == 0
    assert sprung() == []
    page = Path("down/report.html").read_text()
    assert script not in page
    assert "{{ 7 * 191 }}" in page


def test_kept_weights_are_only_weights(sprung):
    """A run's teacher that was trained here is kept with the name of its folder; whatever it says builds nothing."""
    arguments = {**RUN, "method": "distill", "teacher": "mlp:4", "teacher_epochs": 1, "progress": False}
    didact.run(directory="run", **arguments)
    (kept,) = Path("run/teachers").iterdir()
    files.write_tensors(kept / "weights2.safetensors", build("mlp:4", digits()).state_dict(), {"spec": "trap:make"})
    shutil.rmtree("run/checkpoints")
    assert main(["resume", "run"]) in (0, 2)
    assert sprung() == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (lambda: teacher(student("a.safetensors", "trap:make")), "trap:make"),
        (lambda: ["export", student("a.safetensors", "trap:make"), "--to", "onnx"], "trap:make"),
        (lambda: config_file('method = "supervised"\ndata = "digits"\nstudent = "trap:make"\n'), "trap:make"),
    ],
)
def test_what_the_user_names_himself_is_done(words, name, sprung, capsys):
    given = words()
    assert main(given) == 2
    said = capsys.readouterr().err
    assert f"--trust {name}" in " ".join(said.split())
    assert main([*given, "--trust", "some.other:thing", "--trust", name]) == 0
    assert [mark.name for mark in sprung()] == ["mark"]


def test_what_is_typed_over_a_file_needs_no_trust(sprung):
    words = config_file('method = "supervised"\ndata = "digits"\nstudent = "mlp:4"\n')
    assert main([*words, "--student", "trap:make"]) == 0
    assert sprung()


def test_a_run_with_code_of_the_users_own_goes_on_by_its_name(sprung):
    arguments = {**RUN, "student": "trap:make", "directory": "run", "progress": False}
    first = didact.run(**arguments)
    shutil.rmtree("run/checkpoints")
    Path("run/result.json").unlink()
    with pytest.raises(TrustError, match=r"run/config\.json asks to run the code 'trap:make'"):
        didact.resume("run", progress=False)
    again = didact.resume("run", trust=["trap:make"], progress=False)
    assert again.metrics == first.metrics
    with pytest.raises(TrustError):
        didact.resume("run", trust=["trap:mak", "ake", "trap"], progress=False)


def test_what_is_allowed_stays_within_its_file(sprung):
    """A refusal ends with the reading of the file: what is typed afterwards is the user's again."""
    with pytest.raises(TrustError):
        didact.resume(stored(RUN, student="trap:make")[1], progress=False)
    assert didact.run(**{**RUN, "student": "trap:make", "progress": False}).status == "done"
