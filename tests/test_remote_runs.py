"""Whole runs with a teacher or a judge behind a server: taught, cached, paused, looked at; and no secret is left."""

import json
import re

import pytest
import torch

import didact
from didact import hashing
from didact.cli import main
from didact.errors import PausedError
from didact.memory.signal_store import SignalStore
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.teachers.remote import client
from didact.types import Question
from stand_in import serving, transformers_serve

pytest.importorskip("openai")
SECRET = "secret-of-mine"
RUN = {
    "method": "taid",
    "student": "decoder:1x32:64",
    "steps": 3,
    "batch_size": 8,
    "lr": 1e-3,
    "progress": False,
    "evaluate_every": 100,
}


@pytest.fixture(scope="module")
def learner():
    return build_causal("decoder:1x32:64", seed=3)


@pytest.fixture(autouse=True)
def _own_place(monkeypatch, tmp_path):
    monkeypatch.setattr(client, "WAIT", 0.0)
    monkeypatch.setenv("DIDACT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIDACT_SERVER_KEY", SECRET)
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{i}+1=", "completion": str(i + 1)} for i in range(24)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"{i},{'good' if i % 2 else 'bad'},{'yes' if i % 2 else 'no'}" for i in range(40)]
    (tmp_path / "films.csv").write_text("\n".join(["minutes,told,liked", *lines]) + "\n")


def same(first, second):
    mine, theirs = first.learner.state_dict(), second.learner.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def secrets(tmp_path):
    """The files of a test in which the key is."""
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    return [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_server_teaches_and_so_does_the_cache_of_its_answers(learner, tmp_path, capsys, caplog):
    settings = {**RUN, "data": "sums.jsonl", "seed": 1}
    with serving(learner) as (stand_in, kind):
        stand_in.wants = SECRET
        teacher = f"{kind},top_k=8,input_price=1000,concurrency=4"
        live = didact.run(**settings, teacher=teacher, directory=tmp_path / "live")
        asked = len(stand_in.seen)
        again = didact.run(**settings, teacher=teacher)
        assert len(stand_in.seen) == asked and same(live, again)
        common = ["--data", "sums.jsonl", "--student", "decoder:1x32:64", "--no-progress"]
        assert main(["cache", "build", "store", "--teacher", teacher, *common, "--bits", "32"]) == 0
        assert main(["doctor", "taid", "--teacher", teacher, *common]) in (0, 1)
    printed = " ".join(capsys.readouterr().out.split())
    stored = didact.run(**settings, teacher="cache:store")
    assert same(live, stored)
    assert "prompt_logprobs" in printed and "8 likeliest" in printed
    trained = live.cost.teacher_calls
    assert trained == 17 and live.cost.teacher_tokens == 12 * trained
    assert live.cost.money == pytest.approx(trained * 10 * 1000 / 1e6)
    assert live.spent["teacher"]["money"] == live.cost.money
    assert any(
        re.search(r"The teacher student at .* took \d+ requests, [\d,]+ tokens and", note) for note in live.notes
    )
    assert "teacher_kl" not in live.metrics
    assert not secrets(tmp_path) and SECRET not in caplog.text + printed


def test_a_run_whose_budget_is_spent_pauses_and_loses_nothing(learner, tmp_path):
    settings = {**RUN, "data": "sums.jsonl", "seed": 1}
    with serving(learner) as (stand_in, kind):
        with pytest.raises(PausedError, match="calls=10, of which 10 are spent"):
            didact.run(**settings, teacher=f"{kind},calls=10", directory=tmp_path / "short")
        assert len(stand_in.seen) == 10
        didact.run(**settings, teacher=f"{kind},calls=100", directory=tmp_path / "long")
        assert len(stand_in.seen) == 18


def test_a_judge_rewards_and_its_cost_is_in_the_ledger(learner, tmp_path):
    def say(messages):
        return json.dumps({"reason": "", "score": float(len(messages[-1]["content"]) % 2)})

    with serving(learner, say=say) as (stand_in, kind):
        stand_in.wants = SECRET
        stand_in.misdeeds = [""] * 9 + ["prose", "refusal"]
        judge = f"judge:{kind.removeprefix('server:')},output_price=1000000"
        with pytest.warns(RuntimeWarning, match="could not score a completion"):
            found = didact.run(
                **{**RUN, "method": "grpo", "steps": 2, "monitors": ("dead_groups=off",)},
                sampling="max_new_tokens=3,samples=4",
                data="sums.jsonl",
                verifier=f"{judge}+0.1*characters:4:4",
                directory=tmp_path / "run",
            )
    assert found.cost.money > 0 and found.cost.teacher_tokens == 6 * found.cost.money
    assert any("abstained on 2 completions" in note and "gave no JSON (1)" in note for note in found.notes)
    assert not secrets(tmp_path)


def test_a_server_labels_a_table(learner, tmp_path, capsys):
    def say(messages):
        return json.dumps({"label": "yes" if "good" in messages[-1]["content"] else "no"})

    with serving(learner, say=say, structured=False) as (stand_in, kind):
        stand_in.misdeeds = ["", "", "prose"]
        found = didact.run(
            "distill",
            data="films.csv",
            target="liked",
            student="mlp:8",
            labels=10,
            teacher=kind,
            steps=20,
            lr=0.01,
            progress=False,
            directory=tmp_path / "run",
        )
        asked = len(stand_in.seen)
        words = ["--data", "films.csv", "--target", "liked", "--student", "mlp:8", "--teacher", kind, "--no-progress"]
        assert main(["doctor", "distill", *words]) in (0, 1) and len(stand_in.seen) - asked <= 2
        assert main(["cache", "build", "store", *words]) == 0
    assert '{"minutes": 0, "told": "bad"}' in {body["messages"][-1]["content"] for body in stand_in.seen}
    assert any("The teacher abstained on 1 examples: it gave no JSON (1)" in note for note in found.notes)
    assert not found.teacher and found.cost.teacher_calls <= 40
    assert not secrets(tmp_path)
    capsys.readouterr()


@pytest.mark.parametrize("entries", [False, True], ids=["lists", "entries"])
def test_a_server_writes_what_is_learned_with_or_without_its_likeliest_tokens(learner, tmp_path, capsys, entries):
    words = ["--data", "sums.jsonl", "--student", "decoder:1x32:64", "--sampling", "max_new_tokens=8,samples=2"]

    def say(prompt):
        return "too much" if prompt == "7+1=" else f"is {len(prompt)}"

    with serving(learner, say=say, names_only=True, entries=entries) as (stand_in, kind):
        assert main(["cache", "write", "told", "--teacher", kind, *words, "--top-k", "3"]) == 0
        first, asked = (tmp_path / "told" / "completions.jsonl").read_bytes(), len(stand_in.seen)
        assert main(["cache", "write", "told", "--teacher", kind, *words, "--top-k", "3"]) == 0
        assert len(stand_in.seen) == asked == 48 and (tmp_path / "told" / "completions.jsonl").read_bytes() == first
    printed = capsys.readouterr().out
    rows = [json.loads(line) for line in first.splitlines()]
    assert len(rows) == 46 and "2 answers that are none: was cut off (2)" in printed
    assert rows[0] == {"prompt": "0+1=", "completion": "is 4"}
    store = SignalStore(tmp_path / "told", verify=True)
    assert len(store) == 46
    question = Question(id=0, **rows[0])
    prompt, answer = learner.tokenizer.prompt(question), learner.tokenizer.completion(question)
    whole = torch.tensor([*prompt, *answer])
    key = hashing.of_sequences(whole, torch.arange(len(whole)), torch.zeros_like(whole), 1)
    first_place, length, start = store.spans(store.find(key))
    assert (int(first_place), int(length)) == (len(prompt) - 1, len(answer))
    found = store.get(start + torch.arange(len(answer)))
    with torch.no_grad():
        scores = (learner.module(whole[None]) @ learner.head.weight.t())[0].log_softmax(-1)
    expected = scores[len(prompt) - 1 : -2].topk(3)
    # The place of what ends a completion is not told.
    assert found.trust.tolist() == [1.0] * (len(answer) - 1) + [0.0]
    assert torch.equal(found.ids[:-1], expected.indices)
    assert torch.allclose(found.log_probs[:-1], expected.values, atol=0.01)
    done = didact.run(**RUN, data=tmp_path / "told" / "completions.jsonl", teacher="cache:told")
    assert done.status == "done"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_transformers_serve_judges_labels_and_writes(tmp_path, capsys):
    """The real server, on a small model with a tokenizer of its own, which talks nonsense."""
    pytest.importorskip("fastapi"), pytest.importorskip("uvicorn")
    from tiny_language import save_model

    folder, port = tmp_path / "model", 18766
    save_model(folder)
    (folder / "chat_template.jinja").write_text("{% for one in messages %}{{ one.content }} {% endfor %}")
    teacher = f"server:http://127.0.0.1:{port},model={folder},concurrency=2,max_tokens=4"
    words = ["--data", "sums.jsonl", "--sampling", "max_new_tokens=4"]
    with transformers_serve(folder, port):
        assert main(["cache", "write", "told", "--teacher", teacher, *words]) == 0
        printed = capsys.readouterr().out
        assert main(["cache", "write", "chats", "--teacher", f"{teacher},chat=true", *words]) == 0
        judge = verifier_of(teacher.replace("server:", "judge:"))
        with pytest.warns(RuntimeWarning, match="could not score"):
            found = judge.verify(["2", "3"], [Question(id=0, prompt="1+1=")] * 2)
        judge.asker.client.close()
    assert re.search(r"The teacher .* took 24 requests, [\d,]+ tokens", printed)
    told = [json.loads(line) for line in (tmp_path / "told" / "completions.jsonl").read_text().splitlines()]
    left = re.search(r"left out\s+(\d+) answers", printed)
    assert len(told) + int(left[1] if left else 0) == 24
    assert found.trust.tolist() == [0.0, 0.0] and sum(judge.abstentions.values()) == 2
