"""Language models from the command line: taught, talked to, exported, reported and compared."""

import io
import json
from pathlib import Path

import pytest
import transformers

from didact.cli import main
from tiny_language import TEMPLATE, save_model, save_tokenizer

SMALL = ["--steps", "2", "--batch-size", "8", "--no-progress", "--sampling", "max_new_tokens=4,samples=2"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty directory to work in, with questions and a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"question": f"{a}+{b}=", "answer": str(a + b)} for a in range(6) for b in range(6)]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_model("llama")
    return tmp_path


def run_of(out, *words):
    assert main([*words, *SMALL, "--out", out]) == 0
    return json.loads((Path(out) / "config.json").read_text())["config"]


def test_from_teaching_to_talking(work, capsys, monkeypatch):
    grpo = ["run", "grpo", "--student", "llama", "--data", "prompts.jsonl", "--verifier", "numeric"]
    assert run_of("first", *grpo)["sampling"]["samples"] == 2
    out = capsys.readouterr().out
    assert "accuracy (%)" in out
    assert "chat     didact chat first" in out
    assert max(map(len, out.splitlines())) <= 80

    words = ["distill", "--teacher", "first", "--student", "llama", "--data", "prompts.jsonl", "--on-policy"]
    stored = run_of("second", *words, "--divergence", "jsd")
    assert (stored["method"], stored["options"]["on_policy"], stored["options"]["divergence"]) == ("gkd", 1.0, "jsd")
    assert "divergence from the teacher (nats)" in capsys.readouterr().out

    monkeypatch.setattr("sys.stdin", io.StringIO("1+1=\n\n2+2=\n/quit\n3+3=\n"))
    assert main(["chat", "second", "--max-new-tokens", "3", "--temperature", "0"]) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("1+1=\n2+2=\n"))
    assert main(["chat", "second/student", "--max-new-tokens", "3", "--temperature", "0"]) == 0
    assert capsys.readouterr().out == first
    assert ">" not in first.splitlines()[0][:2]

    Path("second/report.html").unlink()
    assert main(["report", "second"]) == 0
    page = Path("second/report.html").read_text()
    assert "What it answers" in page
    assert "+" in page.split("What it answers")[1]


def test_where_the_share_of_own_answers_is_out_of_range(work, capsys):
    words = ["distill", "--teacher", "llama", "--student", "llama", "--data", "prompts.jsonl"]
    assert main([*words, "--on-policy", "1.5", *SMALL]) == 2
    assert "on_policy is 1.5" in capsys.readouterr().err
    assert main([*words, "--divergence", "jsd", *SMALL]) == 2
    assert "'divergence'" in capsys.readouterr().err


def test_export(work, capsys):
    run_of("run", "run", "grpo", "--student", "llama", "--data", "prompts.jsonl", "--verifier", "numeric")
    capsys.readouterr()
    assert main(["export", "run", "--to", "hf"]) == 0
    assert capsys.readouterr().out.split() == ["there", "run/student"]
    assert main(["export", "run", "--to", "hf", "--out", "elsewhere/model"]) == 0
    assert transformers.AutoModelForCausalLM.from_pretrained("elsewhere/model").config.model_type == "llama"
    capsys.readouterr()
    for words in (["--to", "onnx"], [], ["--to", "hf", "--out", "elsewhere/model"]):
        assert main(["export", "run", *words]) == 2
        said = capsys.readouterr().err
        assert "--to hf would work" in said or "exists already" in said


def test_doctor_show_and_list(work, capsys):
    words = ["--student", "llama", "--data", "prompts.jsonl", "--sampling", "max_new_tokens=4,samples=2"]
    assert main(["doctor", "grpo", *words, "--verifier", "numeric"]) == 0
    out = capsys.readouterr().out
    assert "The run would work, but see above." in out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["doctor", "grpo", *words]) == 1
    assert "verifier is not given" in " ".join(capsys.readouterr().out.split())
    assert main(["show", "grpo"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "needs prompts, verifier" in out
    assert "didact run grpo --verifier VERIFIER --data FILE.jsonl --student hf:DIR" in out
    assert main(["show", "sft"]) == 0
    assert "needs prompts with completions to learn from" in " ".join(capsys.readouterr().out.split())
    assert main(["list", "--json"]) == 0
    found = {entry["name"]: entry["material"] for entry in json.loads(capsys.readouterr().out)}
    assert [found[name] for name in ("sft", "dpo", "grpo", "distill")] == [
        "questions",
        "questions",
        "questions",
        "examples",
    ]


def test_compare(work, capsys):
    words = ["--data", "prompts.jsonl", "--student", "decoder:1x32:64", "--teacher", "decoder:1x32:64"]
    words += ["--seeds", "0-1", *SMALL[:4], *SMALL[5:], "--json", "found.json"]
    assert main(["compare", "gkd", "gkd,divergence=forward", *words, "--metric", "teacher_kl"]) == 0
    out = capsys.readouterr().out
    assert json.loads(Path("found.json").read_text())["metric"] == "teacher_kl"
    assert "divergence from the teacher" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


def test_a_conversation_goes_on_and_forgets_its_beginning_where_it_grows_too_long(work, capsys, monkeypatch):
    save_tokenizer("llama", template=TEMPLATE)
    asked = []
    from didact.cli import chat

    def answer(_sampler, learner, question, _turn):
        asked.append([message["content"] for message in question.messages])
        assert len(learner.tokenizer.prompt(question)) + 8 <= learner.context
        return "x" * 8

    monkeypatch.setattr(chat, "_answer", answer)
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n/new\nthree\n" + "\n".join("abcdef")))
    assert main(["chat", "llama", "--max-new-tokens", "8"]) == 0
    assert asked[:3] == [["one"], ["one", "x" * 8, "two"], ["three"]]
    assert asked[-1][-1] == "f"
    assert asked[-1][0] != "three"
    assert len(asked[-1]) % 2 == 1
