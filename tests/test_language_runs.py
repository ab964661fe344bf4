"""Language models taught by `didact.run`: from directories and back, with adapters, stopped and gone on with."""

import json
import shutil

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import didact
from didact import sources
from didact.cli import main
from didact.errors import CheckpointError, ConfigError, DataError, TeacherError
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.loop import RunDirectory
from didact.materials.questions import pretraining
from didact.parts.models import build_causal
from didact.teachers import FunctionVerifier
from didact.types import Batch, Logits
from tiny_language import save_model

RECORDS = [{"prompt": f"{a}+{b}=", "answer": str(a + b), "completion": str(a + b)} for a in range(8) for b in range(8)]
QUICK = {
    "data": RECORDS,
    "batch_size": 16,
    "steps": 4,
    "lr": 1e-3,
    "sampling": "max_new_tokens=4,samples=4",
    "progress": False,
}
IDS = torch.tensor([[1, 20, 30, 40, 50]])


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The directory of a tiny Llama, made from a configuration on the spot."""
    path = tmp_path_factory.mktemp("models") / "llama"
    save_model(path)
    return path


def logits_of(learner):
    with torch.no_grad():
        return learner.eval()(Batch({"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})).logits


def logits_elsewhere(directory):
    model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    with torch.no_grad():
        return model(input_ids=IDS).logits


METHODS = {
    "sft": {},
    "gkd": {"teacher": "other", "on_policy": 0.5},
    "grpo": {"verifier": "numeric", "monitors": ("dead_groups=off",)},
}


@pytest.mark.parametrize("method", METHODS)
def test_from_a_directory_to_a_directory(llama, tmp_path, method):
    # From itself, a model has nothing to learn.
    save_model(tmp_path / "teacher", "qwen2")
    settings = {k: str(tmp_path / "teacher") if v == "other" else v for k, v in METHODS[method].items()}
    # A reward that nearly every attempt differs in: what a tiny model says at first is never right.
    settings |= {"verifier": "characters:4:4"} if method == "grpo" else {}
    result = didact.run(method=method, student=llama, directory=tmp_path / "run", **settings, **QUICK)
    assert result.status == "done"
    before, after = logits_elsewhere(llama), logits_elsewhere(tmp_path / "run" / "student")
    torch.testing.assert_close(after, logits_of(result.learner))
    assert (after - before).abs().max() > 1e-3
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "student")
    assert tokenizer("1+1=")["input_ids"] == transformers.AutoTokenizer.from_pretrained(llama)("1+1=")["input_ids"]
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["metrics"] == result.metrics
    assert {"nll", "length", "finished"} <= set(kept["metrics"])
    report = (tmp_path / "run" / "report.html").read_text()
    assert "What it answers" in report


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_adapters_are_trained_and_delivered_alone_and_merged_on_request(llama, tmp_path, capsys):
    run = tmp_path / "run"
    result = didact.run(method="sft", student=f"lora:2:{llama}", directory=run, **QUICK)
    trained = {name for name, p in result.learner.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    delivered = load_file(run / "student" / "adapter_model.safetensors")
    assert len(delivered) == len(trained)
    assert not (run / "student" / "model.safetensors").exists()
    wanted = logits_of(result.learner)
    # As transformers reads them, and PEFT, and didact.
    torch.testing.assert_close(logits_elsewhere(run / "student"), wanted)
    base = transformers.AutoModelForCausalLM.from_pretrained(llama)
    before = base(input_ids=IDS).logits
    adapted = peft.PeftModel.from_pretrained(base, run / "student").eval()
    torch.testing.assert_close(adapted(input_ids=IDS).logits, wanted)
    torch.testing.assert_close(logits_of(build_causal(str(run))), wanted)
    assert (before - wanted).abs().max() > 1e-3
    assert main(["export", str(run), "--to", "hf"]) == 0
    assert str(run / "student-hf") in capsys.readouterr().out.replace("\n", "")
    frozen, merged = (load_file(path / "model.safetensors") for path in (llama, run / "student-hf"))
    assert merged.keys() == frozen.keys()
    assert torch.equal(merged["lm_head.weight"], frozen["lm_head.weight"])
    torch.testing.assert_close(logits_elsewhere(run / "student-hf"), wanted)
    # Adapters of what has adapters are saved with all that they were added to.
    wide = didact.run(method="sft", student=f"lora:2:{run}", directory=tmp_path / "wide", **QUICK)
    assert wide.config.student == f"lora:2:{run}"
    torch.testing.assert_close(logits_elsewhere(tmp_path / "wide" / "student"), logits_of(wide.learner))


def test_adapters_that_do_not_fit_their_base_are_named(llama, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    didact.run(method="sft", student=f"lora:2:{llama}", directory=run, **QUICK)
    save_model(other, hidden_size=64)
    facts = run / "student" / "didact.json"
    told = json.loads(facts.read_text())
    assert told["base"] == str(llama)
    for base, words in ((other, "do not fit their base"), (run / "student", "holds adapters itself")):
        facts.write_text(json.dumps({**told, "base": str(base)}))
        (run / "student" / "checksums.json").write_text("{}")
        with pytest.raises((CheckpointError, ConfigError), match=words):
            build_causal(str(run))


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        pytest.param("sft", {}, marks=pytest.mark.slow),
        ("sft", {"student": "lora"}),
        pytest.param("gkd", {"teacher": "llama", "on_policy": 0.5}, marks=pytest.mark.slow),
        ("grpo", {"verifier": "characters:4:4", "updates": 2, "kl": 0.1}),
    ],
)
def test_what_is_stopped_goes_on_to_the_bit(llama, tmp_path, monkeypatch, method, settings):
    # As if it had been killed before the end: the checkpoints of a run that is done are pruned.
    monkeypatch.setattr(RunDirectory, "prune", lambda _: None)
    # Questions from Python would have to be given again; those of a file are found by the run itself.
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    names = {"llama": str(llama), "lora": f"lora:2:{llama}"}
    settings = {"student": str(llama), **{k: names.get(v, v) for k, v in settings.items()}}
    run = tmp_path / "run"
    settings = {**QUICK, "data": path, "steps": 6, "checkpoint_every": 3, "evaluate_every": 100, **settings}
    whole = didact.run(method=method, directory=run, **settings)
    file = (
        run
        / "student"
        / ("adapter_model.safetensors" if settings["student"].startswith("lora") else "model.safetensors")
    )
    kept = load_file(file)
    for last in sorted((run / "checkpoints").glob("step-*"))[-1:]:
        assert int(last.name.removeprefix("step-")) == 6
        shutil.rmtree(last)
    shutil.rmtree(run / "student")
    (run / "result.json").unlink()
    again = didact.resume(run, progress=False)
    assert again.status == "done"
    found = load_file(file)
    assert [name for name, tensor in kept.items() if not torch.equal(found[name], tensor)] == []
    assert again.metrics == whole.metrics
    costs = [{k: v for k, v in r.cost.as_dict().items() if k not in ("seconds", "peak_memory")} for r in (again, whole)]
    assert costs[0] == costs[1]


@pytest.mark.parametrize("more", [{}, {"student": "warm:4:lora", "select": "best", "evaluate_every": 3}])
def test_the_base_of_adapters_is_in_no_checkpoint_and_must_be_the_same_again(llama, tmp_path, monkeypatch, more):
    monkeypatch.setenv("DIDACT_CACHE", "")
    monkeypatch.setattr(RunDirectory, "prune", lambda _: None)
    base, path, run = tmp_path / "base", tmp_path / "questions.jsonl", tmp_path / "run"
    shutil.copytree(llama, base)
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    student = more.get("student", "lora").replace("lora", f"lora:2:hf:{base}")
    settings = {**QUICK, "data": path, "checkpoint_every": 2, "evaluate_every": 100, **more, "student": student}
    whole = didact.run(method="sft", directory=run, **settings)
    # A warm start trains the adapters alone, too.
    source = load_file(base / "model.safetensors")
    weights = {n.replace(".base_layer", "").removeprefix("module."): p for n, p in whole.learner.named_parameters()}
    assert all(torch.equal(weights[name], tensor) for name, tensor in source.items())
    frozen = sum(p.nbytes for p in whole.learner.parameters() if not p.requires_grad)
    checkpoints = sorted((run / "checkpoints").glob("step-*"))
    for checkpoint in checkpoints:
        kept = load_file(checkpoint / "tensors.safetensors")
        assert not [name for name in kept if "lora_" not in name and name.startswith(("/method/", "/best_weights/"))]
        assert sum(t.nbytes for t in kept.values()) < frozen
    shutil.rmtree(checkpoints[-1])
    again = didact.resume(run, progress=False)
    assert weights_of(again.learner) == weights_of(whole.learner)
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    assert not [name for name in load_file(newest / "tensors.safetensors") if "base_layer" in name]
    shutil.rmtree(newest)
    tensors = load_file(base / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] += 1e-3
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="frozen, and was read from a file that has changed"):
        didact.resume(run, progress=False)


def test_a_run_is_a_learner_and_a_teacher(llama, tmp_path):
    first = didact.run(method="sft", student=str(llama), directory=tmp_path / "first", **QUICK)
    second = didact.run(
        method="gkd",
        student=tmp_path / "first",
        teacher=tmp_path / "first",
        **{**QUICK, "steps": 1, "lr": 1e-12},
    )
    # The learner begins as what it is taught by, and goes nowhere.
    assert second.metrics["teacher_kl"] == pytest.approx(0.0, abs=1e-6)
    assert second.teacher["nll"] == pytest.approx(first.metrics["nll"], rel=1e-5)
    assert second.metrics["nll"] == pytest.approx(first.metrics["nll"], rel=1e-5)
    assert not [note for note in second.notes if "split" in note]
    other = didact.run(method="sft", student=tmp_path / "first", **{**QUICK, "steps": 1, "seed": 3})
    assert any("The student" in note and "split_seed=0" in note for note in other.notes)


def test_without_answers_the_distance_to_the_teacher_is_the_metric():
    prompts = [{"prompt": record["prompt"]} for record in RECORDS]
    settings = {**QUICK, "data": prompts, "steps": 30, "lr": 3e-3, "evaluate_every": 10, "select": "best"}
    result = didact.run(method="gkd", student="decoder:1x32:64", teacher="decoder:1x32:64", **settings)
    assert set(result.metrics) == {"length", "finished", "teacher_kl"}
    seen = [record["eval/teacher_kl"] for record in result.history if "eval/teacher_kl" in record]
    assert seen[-1] < seen[0]
    assert result.validation["teacher_kl"] == min(seen)


def test_the_divergence_of_a_run_is_that_at_the_tokens_of_greedy_answers(llama):
    teacher = build_causal(f"hf:{llama}")
    result = didact.run(method="gkd", student=llama, teacher=teacher, **{**QUICK, "lr": 0.01})
    _, _, test = sources.split_questions(sources.from_records(RECORDS))
    found = [kl for question in test for kl in divergences(result.learner.eval(), teacher, question)]
    assert result.metrics["teacher_kl"] == pytest.approx(sum(found) / len(found), rel=1e-4)
    assert result.metrics["length"] == pytest.approx(len(found) / len(test))


def divergences(student, teacher, question):
    """KL(teacher || student) at each token of the student's greedy answer, one token after the other."""
    ids = student.tokenizer.prompt(question)
    for _ in range(4):
        batch = Batch({"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.int64)})
        with torch.no_grad():
            mine, theirs = (model(batch).logits[0, -1].double().log_softmax(0) for model in (student, teacher))
        yield float((theirs.exp() * (theirs - mine)).sum())
        # Ids that mean nothing are never said.
        ids = [*ids, int(mine.argmax())]
        if ids[-1] == student.tokenizer.eos:
            return


def test_questions_from_records_are_those_of_a_file(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    assert sources.from_records(RECORDS).items == sources.load_questions(path).items
    named = [{"q": "1+1=", "a": "2"}]
    (question,) = sources.from_records(named, columns={"prompt": "q", "answer": "a"}, verifier="exact")
    assert (question.prompt, question.answer) == ("1+1=", "2")
    with pytest.raises(DataError, match=r"record 2 is .*'x'"):
        sources.from_records([{"prompt": "a"}, "x"])
    with pytest.raises(DataError, match="has no questions"):
        sources.from_records([])


def test_a_comparison_uses_a_metric_of_all_arms():
    prompts = [{"prompt": record["prompt"]} for record in RECORDS]
    shared = {**QUICK, "student": "decoder:1x32:64", "teacher": "decoder:1x32:64", "seeds": [0, 1], "steps": 1}
    found = didact.compare(["gkd", "gkd,divergence=forward"], **{**shared, "data": prompts})
    assert found.comparison.metric == "teacher_kl"
    both = didact.compare(["sft", "gkd"], **shared)
    assert both.comparison.metric == "nll"
    with pytest.raises(ConfigError, match="metric is 'accuracy'"):
        didact.compare(["sft", "gkd"], metric="accuracy", **shared)


def test_the_rate_that_suits_where_none_is_given(llama):
    rates = {}
    for name, settings in {
        "decoder": {"method": "sft", "student": "decoder:1x32:64"},
        "hf": {"method": "sft", "student": llama},
        "lora": {"method": "sft", "student": f"lora:2:{llama}"},
        "rewarded": {"method": "grpo", "student": "decoder:1x32:64", "verifier": "exact"},
        "by votes": {"method": "co_reward", "student": "decoder:1x32:64", "votes": "single"},
    }.items():
        rates[name] = didact.run(**{**QUICK, "steps": 1, "lr": None, **settings}).config.optimizer.lr
    assert rates == {"decoder": 1e-3, "hf": 2e-5, "lora": 2e-4, "rewarded": 1e-4, "by votes": 1e-4}


def test_a_model_is_trained_until_it_is_right_often_enough():
    same = [{**record, "answer": "7", "completion": "7"} for record in RECORDS]
    settings = {"data": same, "student": "warm:90%:decoder:1x32:32", "sampling": "max_new_tokens=4", "lr": 1e-9}
    found = didact.run(method="sft", verifier="exact", batch_size=8, steps=1, progress=False, **settings)
    assert found.metrics["accuracy"] >= 0.9
    assert 0 < found.teacher_cost.steps < pretraining.LIMIT
    assert found.teacher_cost.steps % pretraining.EVERY == 0
    assert found.teacher_cost.labels > found.cost.labels


def test_a_beginning_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setenv("DIDACT_CACHE", str(tmp_path))
    settings = {**QUICK, "method": "sft", "student": "warm:3:decoder:1x32:32", "lr": 1e-9}
    one, again = didact.run(**settings), didact.run(**settings)
    assert len(list(tmp_path.iterdir())) == 1
    assert again.teacher_cost == one.teacher_cost
    assert weights_of(again.learner) == weights_of(one.learner)
    other = didact.run(**{**settings, "student": "warm:4:decoder:1x32:32"})
    assert weights_of(other.learner) != weights_of(one.learner)
    didact.run(**{**settings, "data": RECORDS[:-1]})
    assert len(list(tmp_path.iterdir())) == 3


def weights_of(learner):
    return [parameter.tolist() for parameter in learner.parameters()]


def test_teachers_of_the_same_kind_are_not_the_same():
    settings = {**QUICK, "method": "ampo", "student": "decoder:1x32", "verifier": "exact"}
    run = prepare(
        *split_arguments(teacher="decoder:1x32+decoder:1x32", **{k: v for k, v in settings.items() if k != "progress"})
    )
    assert list(run.parts) == ["student", "teacher", "teacher 2"]
    one, other = (part.model.learner.head.weight for part in run.teachers)
    assert not torch.equal(one, other)


def test_a_function_from_python_verifies(tmp_path):
    def early(text, question):
        assert question.answer is not None
        return float(text[:1] < "P")

    settings = {**QUICK, "method": "grpo", "student": "decoder:1x32:64", "steps": 40, "lr": 1e-2}
    found = didact.run(**settings, verifier=early, directory=tmp_path / "run")
    assert found.config.verifier == "<early>"
    rewards = [record["watched/reward"] for record in found.history if "watched/reward" in record]
    assert rewards[-1] > rewards[0] + 0.1
    with pytest.raises(ConfigError, match=r"was given its data and verifier from Python.*verifier=\.\.\."):
        didact.resume(tmp_path / "run", progress=False)
    again = didact.resume(tmp_path / "run", progress=False, data=RECORDS, verifier=early)
    assert again.metrics == found.metrics
    same = didact.run(**settings, verifier=FunctionVerifier(early))
    assert weights_of(same.learner) == weights_of(found.learner)


def test_a_function_from_python_says_when_a_beginning_is_good_enough(tmp_path, monkeypatch):
    monkeypatch.setenv("DIDACT_CACHE", str(tmp_path))
    settings = {**QUICK, "method": "sft", "student": "warm:90%:decoder:1x32:32", "steps": 1, "lr": 1e-9}
    found = didact.run(**settings, verifier=lambda text, _question: 1.0)
    assert found.teacher_cost.steps == pretraining.EVERY
    # What another function would have said is not known from what this one did.
    assert not list(tmp_path.iterdir())
    # One call for each test question and, ten times, for each question that is watched; none for the beginning.
    assert found.cost.teacher_calls == 0


def test_a_function_is_for_questions_alone():
    with pytest.raises(ConfigError, match=r"verifier is '<lambda>', but the method 'supervised' learns from examples"):
        didact.run(method="supervised", data="digits", steps=1, progress=False, verifier=lambda text, question: 1.0)
    with pytest.raises(TeacherError, match="must be a function of a text and a question"):
        didact.run(**QUICK, method="grpo", student="decoder:1x32:64", verifier=3)


def test_a_comparison_takes_a_function():
    shared = {**QUICK, "student": "decoder:1x32:64", "seeds": [0, 1], "steps": 1}
    found = didact.compare(["sft", "grpo"], **shared, verifier=lambda text, _question: float(len(text)))
    assert found.comparison.metric == "accuracy"


class Favours:
    """Anything with a method `signal`: nearly sure of one token, whatever came before."""

    def __init__(self, token):
        self.token = token

    def signal(self, batch):
        logits = torch.zeros(*batch["input_ids"].shape, 260)
        logits[..., self.token] = 8.0
        return Logits(logits=logits)


@pytest.mark.parametrize(
    "teacher",
    [
        pytest.param("noisy:0.3:warm:90%:decoder:1x32:32", marks=pytest.mark.slow),
        "warm:20:decoder:1x32:32+warm:10:decoder:1x32:32",
        Favours(build_causal("decoder:1x32:32").tokenizer.encode("7")[0]),
    ],
    ids=["noisy", "committee", "object"],
)
def test_any_teacher_teaches_a_language_model(teacher):
    """The student comes much nearer to what the teacher says than it was, on the tokens of its own answers."""
    same = [{**record, "answer": "7", "completion": "7"} for record in RECORDS]
    settings = {
        **QUICK,
        "data": same,
        "student": "decoder:1x32:32",
        "teacher": teacher,
        "sampling": "max_new_tokens=4",
        "seed": 1,
    }
    first, last = (
        didact.run(**{**settings, "method": "gkd", "verifier": "exact", "steps": steps, "lr": 3e-3, "batch_size": 16})
        for steps in (1, 80)
    )
    assert last.metrics["teacher_kl"] < 0.5 * first.metrics["teacher_kl"]
    if not isinstance(teacher, str):
        assert last.diagnostics["answers"][0]["said"] == "7777"
