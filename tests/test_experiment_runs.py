"""Runs from Python, in memory and in directories."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

import didact
from blobs import DATA, QUICK, blobs
from didact import sources
from didact.errors import CheckpointError, ConfigError, TeacherError
from didact.experiment import pretraining
from didact.parts import saved
from didact.types import Examples, Method

# ---- runs


def test_a_run_teaches_and_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("didact.materials.examples.pretraining.LEAST_STEPS", 100)  # 30 epochs would be 90
    result = didact.run(
        method="distill",
        teacher="mlp:16",
        labels=12,
        temperature=2,
        directory=tmp_path / "run",
        **{**QUICK, "steps": 150, "lr": 0.03},
    )
    assert result.status == "done"
    assert result.metrics["accuracy"] > 0.95
    assert result.config.options["temperature"] == 2.0
    train = sources.split(DATA, seed=0).train.size
    cost = result.cost
    assert (cost.labels, cost.steps, cost.teacher_calls) == (12, 150, train)
    assert result.teacher_cost.labels == train
    assert result.teacher_cost.steps >= 100
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["metrics"] == result.metrics
    assert kept["cost"]["labels"] == 12
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["data"]["fingerprint"] == sources.fingerprint(DATA)
    assert stored["versions"]["torch"] == torch.__version__
    assert stored["objects"] == ["data"]
    assert "<html" in (tmp_path / "run" / "report.html").read_text()


def test_figures_are_those_of_the_student_on_the_test_examples():
    result = didact.run(method="supervised", **QUICK)
    test = sources.split(DATA, seed=0).test
    with torch.no_grad():
        answers = result.learner.module(test.tensors["x"]).argmax(1)
    assert result.metrics["accuracy"] == pytest.approx((answers == test.tensors["label"]).double().mean().item())


def test_the_same_run_twice_is_the_same():
    first, second = (didact.run(method="mean_teacher", labels=12, **QUICK) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.metrics != didact.run(method="mean_teacher", labels=12, seed=1, **QUICK).metrics


def test_the_best_weights_are_delivered_and_their_labels_counted(tmp_path):
    settings = {**QUICK, "steps": 30, "lr": 0.05, "evaluate_every": 5}
    memory = didact.run(method="supervised", select="best", **settings)
    disk = didact.run(method="supervised", select="best", directory=tmp_path / "run", **settings)
    evaluated = [r["eval/accuracy"] for r in memory.history if "eval/accuracy" in r]
    assert memory.validation["accuracy"] == max(evaluated)
    assert disk.metrics == memory.metrics
    splits = sources.split(DATA, seed=0)
    assert memory.cost.labels == splits.train.size + splits.validation.size
    assert didact.run(method="supervised", **settings).cost.labels == splits.train.size


def test_a_module_is_taught_in_place_and_cannot_be_found_again(tmp_path):
    module = nn.Sequential(nn.Linear(4, 3))
    before = module[0].weight.detach().clone()
    result = didact.run(method="supervised", directory=tmp_path / "run", **{**QUICK, "student": module})
    assert result.learner.module is module
    assert not torch.equal(before, module[0].weight)
    assert result.config.student == "<Sequential>"
    with pytest.raises(CheckpointError, match="module of your own"):
        saved.load(tmp_path / "run")


def test_a_module_is_gone_on_with_where_it_is_given_again(tmp_path):
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3))

    whole = didact.run(method="supervised", directory=tmp_path / "run", **{**QUICK, "student": net()})
    (tmp_path / "run" / "result.json").unlink()
    again = didact.resume(tmp_path / "run", data=DATA, student=net(), progress=False)
    assert again.metrics == whole.metrics
    assert again.config.student == "<Sequential>"


# ---- directories


def test_a_run_teaches_another(tmp_path):
    run = tmp_path / "run"
    taught = didact.run(method="supervised", directory=run, **{**QUICK, "steps": 200})
    for spec in (str(run), str(run / "student")):
        result = didact.run(method="distill", teacher=spec, **{**QUICK, "steps": 2})
        assert result.teacher["accuracy"] == taught.metrics["accuracy"]
        assert not [note for note in result.notes if "split" in note]
    other = didact.run(method="distill", teacher=str(run), seed=3, **{**QUICK, "steps": 2})
    assert "trained on another split of these data" in other.notes[0]
    assert "split_seed=0" in other.notes[0]


def test_classes_in_another_order_are_brought_into_the_datas(tmp_path):
    run = tmp_path / "run"
    didact.run(method="supervised", directory=run, **{**QUICK, "steps": 200, "lr": 0.03})
    order = torch.tensor([2, 0, 1])
    renamed = Examples(
        tensors={**DATA.tensors, "label": order.argsort()[DATA.tensors["label"]]},
        task="classification",
        modality="table",
        classes=tuple(DATA.classes[i] for i in order),
        preprocessing=DATA.preprocessing,
        name="blobs",
    )
    result = didact.run(method="distill", teacher=str(run), **{**QUICK, "data": renamed, "steps": 2})
    assert result.teacher["accuracy"] > 0.95


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (sources.from_tensors(DATA.tensors["x"][:60, :3], torch.arange(60) % 3), "columns that the data lack: 'x3'"),
        (sources.from_tensors(DATA.tensors["x"], DATA.tensors["label"] % 2), "The teacher's classes are"),
        (
            sources.from_tensors(torch.arange(240.0).view(60, 1, 2, 2) / 240, torch.arange(60) % 3),
            "whose kind of data was 'table'",
        ),
    ],
)
def test_a_run_on_other_data_is_no_teacher(tmp_path, data, said):
    didact.run(method="supervised", directory=tmp_path / "run", **{**QUICK, "steps": 2})
    with pytest.raises(TeacherError, match=said):
        didact.run(method="distill", teacher=str(tmp_path / "run"), **{**QUICK, "data": data, "student": "auto"})


def test_a_stopped_run_goes_on_to_the_bit(tmp_path, monkeypatch):
    settings = {**QUICK, "steps": 30, "checkpoint_every": 10, "labels": 12, "teacher": "mlp:6", "teacher_epochs": 2}
    whole = didact.run(method="distill", directory=tmp_path / "whole", **settings)
    step = Method.after_step

    def interrupted(self):
        if type(self).__name__ == "Distill" and self.step == 17:
            raise RuntimeError("killed")

    monkeypatch.setattr(Method, "after_step", interrupted)
    with pytest.raises(RuntimeError, match="killed"):
        didact.run(method="distill", directory=tmp_path / "cut", **settings)
    monkeypatch.setattr(Method, "after_step", step)
    with pytest.raises(ConfigError, match=r"was given its data from Python.*didact.resume\(.*, data=\.\.\.\)"):
        didact.resume(tmp_path / "cut")
    with pytest.raises(CheckpointError, match="are not those that the run"):
        didact.resume(tmp_path / "cut", data=blobs(seed=1), progress=False)
    monkeypatch.setattr(pretraining, "fit", lambda *_, **__: pytest.fail("the teacher was trained again"))
    resumed = didact.resume(tmp_path / "cut", data=DATA, progress=False)
    assert resumed.metrics == whole.metrics
    assert resumed.cost.teacher_calls == whole.cost.teacher_calls
    pairs = zip(resumed.learner.state_dict().values(), whole.learner.state_dict().values(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_finished_run_that_is_resumed_writes_nothing_twice(tmp_path):
    settings = {**QUICK, "steps": 30, "evaluate_every": 7, "select": "best", "lr": 0.05}
    whole = didact.run(method="supervised", directory=tmp_path / "run", **settings)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert [json.loads(line)["step"] for line in before.splitlines()] == [0, 7, 14, 21, 28, 30, 30]
    for _ in range(3):
        again = didact.resume(tmp_path / "run", data=DATA, progress=False)
        assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
        assert again.history == whole.history
        assert (again.metrics, again.validation) == (whole.metrics, whole.validation)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(tmp_path, monkeypatch):
    whole = didact.run(method="supervised", **QUICK)
    monkeypatch.setattr(Method, "after_step", lambda _self: (_ for _ in ()).throw(RuntimeError("killed")))
    with pytest.raises(RuntimeError, match="killed"):
        didact.run(method="supervised", directory=tmp_path / "run", **QUICK)
    monkeypatch.undo()
    assert didact.resume(tmp_path / "run", data=DATA, progress=False).metrics == whole.metrics


def test_directories_that_are_no_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        didact.resume(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="it holds a list, but must hold an object"):
        didact.resume(tmp_path)
    with pytest.raises(ConfigError, match=r"config\.json can't be read: it holds a list"):
        didact.run(method="distill", teacher=str(tmp_path), **QUICK)


# ---- Hugging Face


def test_a_hugging_face_text_classifier_teaches_a_reader_of_bytes(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "film": 4}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        tmp_path / "hf"
    )
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    names = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(vocab_size=5, **small, **names)).save_pretrained(tmp_path / "hf")
    words = ["good film", "bad film"]
    lines = [json.dumps({"text": f"{words[i % 2]} {i}", "label": ["positive", "negative"][i % 2]}) for i in range(80)]
    (tmp_path / "films.jsonl").write_text("\n".join(lines))
    settings = {
        "data": tmp_path / "films.jsonl",
        "text_column": "text",
        "max_length": 32,
        "student": "mlp:8",
        "steps": 3,
    }
    result = didact.run(method="distill", teacher=f"hf:{tmp_path / 'hf'}", progress=False, **settings)
    assert result.cost.teacher_calls > 0
    assert result.cost.teacher_tokens < result.cost.student_tokens
    plain = didact.run(method="distill", teacher=str(tmp_path / "hf"), progress=False, **settings)
    assert plain.teacher == result.teacher
    pupil = didact.run(method="supervised", progress=False, **{**settings, "student": f"hf:{tmp_path / 'hf'}"})
    assert pupil.config.optimizer.lr == 5e-5


def test_a_run_that_is_done_keeps_one_checkpoint_and_its_end_can_be_repeated(tmp_path):
    settings = {**QUICK, "checkpoint_every": 5}
    first = didact.run(method="supervised", directory=tmp_path / "run", **settings)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["step-0000000020"]
    again = didact.resume(tmp_path / "run", progress=False, data=DATA)
    assert again.metrics == first.metrics
    shutil.rmtree(checkpoints / "step-0000000020")
    kept = (tmp_path / "run" / "metrics.jsonl").read_text()
    with pytest.raises(CheckpointError, match="its checkpoints are gone, so that it could only begin anew"):
        didact.resume(tmp_path / "run", progress=False, data=DATA)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == kept


def test_patience_is_refused_where_nothing_is_evaluated():
    with pytest.raises(ConfigError, match="patience is 3, but the student cannot be evaluated"):
        didact.run(method="supervised", patience=3, validation=0, **QUICK)
    ended = didact.run(method="supervised", patience=1, evaluate_every=1, **{**QUICK, "steps": 400, "lr": 0.03})
    evaluated = [(one["step"], one["eval/accuracy"]) for one in ended.history if "eval/accuracy" in one]
    best = max(evaluated, key=lambda pair: (pair[1], -pair[0]))[0]
    assert ended.status == "done" and ended.cost.steps == evaluated[-1][0] == best + 1


def test_the_model_card_says_what_the_run_found(tmp_path):
    rows = sources.from_tensors(
        DATA.tensors["x"], np.array(["a|b", "<i>bee", "cat"])[DATA.tensors["label"].numpy()], name="rows"
    )
    settings = {**QUICK, "data": rows, "teacher": "mlp:16", "seed": 3}
    result = didact.run(method="distill", directory=tmp_path / "run", **settings)
    text = (tmp_path / "run" / "student" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: didact\n")
    _, what, how, use, metrics, cost, data, limits = text.split("\n## ")
    assert f"- parameters: {4 * 8 + 8 + 8 * 3 + 3}\n" in what
    assert "- classes: \\<i\\>bee, a\\|b, cat" in what
    assert "- method: distill\n- teacher: mlp:16\n" in how and "- seed: 3\n" in how and "budget: steps 20" in how
    assert 'student = didact.load("DIRECTORY")' in use
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in metrics.splitlines()[4:] if line]
    columns = lines[0][1:]
    accuracy = next(dict(zip(columns, line[1:], strict=True)) for line in lines if line[0] == "accuracy (%)")
    assert accuracy["student"] == f"{100 * result.metrics['accuracy']:.1f}"
    assert accuracy["teacher"] == f"{100 * result.teacher['accuracy']:.1f}"
    assert "the student" in cost and "the teacher, trained here" in cost
    assert f"- fingerprint: {json.loads((tmp_path / 'run' / 'config.json').read_text())['data']['fingerprint']}" in data
    assert all(f"- {note[:20]}" in limits for note in result.notes)
    assert saved.load(tmp_path / "run").spec == "mlp:8"
