"""Runs on data in the layouts of the world: what is read is learned, and what would not be is refused or named."""

import json

import pytest
import torch

import didact
from didact.errors import ConfigError, DataError
from didact.experiment.doctor import diagnose
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.learners import HubTokens
from didact.losses.tokens.rows import select_tokens
from didact.losses.tokens.vocabulary import completion_cross_entropy
from didact.materials.questions.conversations import mark_learned
from tiny_language import ENDS, GEMMA, TOOLS, save_model, save_tokenizer

QUICK = {"method": "sft", "student": "decoder:1x32:64", "batch_size": 8, "steps": 2, "sampling": "max_new_tokens=4"}
PAIRS = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(6) for b in range(6)]
CALL = {"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]}


def prepared(**settings):
    return prepare(*split_arguments(**{**QUICK, **settings}))


def doctor(**settings):
    return {check.name: check for check in diagnose(*split_arguments(**{**QUICK, **settings}))}


def refused(kind, *words, **settings):
    with pytest.raises(kind) as caught:
        prepared(**settings)
    for word in words:
        assert word in str(caught.value)


def talk(number, *, completion=None, turns=1, **last):
    asked = [("user", f"{number}?"), ("assistant", f"is {number}")] * (turns - 1) + [("user", f"{number}!")]
    messages = [{"role": role, "content": words} for role, words in asked]
    return {"messages": [*messages, {"role": "assistant", "content": completion or str(number), **last}]}


@pytest.fixture(scope="module")
def chatting(tmp_path_factory):
    """A tiny model whose template ends turns with a token of its own."""
    path = tmp_path_factory.mktemp("chat") / "model"
    save_model(path, tokenizer=False)
    save_tokenizer(path, template=GEMMA, added=ENDS)
    return str(path)


@pytest.fixture(scope="module")
def calling(tmp_path_factory):
    """One whose template renders tools and calls of them."""
    path = tmp_path_factory.mktemp("tools") / "model"
    save_model(path, tokenizer=False, max_position_embeddings=256)
    save_tokenizer(path, template=TOOLS, added=ENDS)
    return str(path)


def learned(run, question):
    """What a run learns of a question, as text."""
    source, tokenizer = run.source, run.student.model.tokenizer
    for _, batch in zip(range(2 * source.epoch_size), source, strict=False):
        for i, ids, mask in zip(batch["id"], batch["input_ids"], batch["completion_mask"], strict=True):
            if int(i) == question.id:
                return mark_learned(tokenizer, ids.tolist(), mask.tolist())
    raise AssertionError


def test_the_end_of_a_turn_is_learned_and_ends_what_is_written(chatting):
    run = prepared(data=[talk(i) for i in range(24)], student=chatting)
    question = run.data.train[0]
    asked, answer = question.messages[0]["content"], question.completion
    wanted = f"<s><|user|>{asked}<|end|>\n<|assistant|>⟦{answer}<|end|>⟧"
    assert learned(run, question).split("<pad>")[0] == wanted
    checks = doctor(data=[talk(i) for i in range(24)], student=chatting)
    assert checks["example"].detail == f"The first training question, ⟦learned⟧: {wanted!r}."
    assert "completions end with 2 (</s>) or 261 (<|end|>)" in checks["tokenizer"].detail


def test_all_turns_are_learned_on_request(chatting):
    data = [talk(i, turns=2) for i in range(24)]
    run = prepared(data=data, student=chatting, turns="all")
    question = run.data.train[0]
    n = question.completion
    assert learned(run, question).split("<pad>")[0] == (
        f"<s><|user|>{n}?<|end|>\n<|assistant|>⟦is {n}<|end|>⟧\n<|user|>{n}!<|end|>\n<|assistant|>⟦{n}<|end|>⟧"
    )
    assert "is" not in learned(prepared(data=data, student=chatting), question).split("⟦")[1]
    refused(ConfigError, "no chat template", data=data, turns="all")
    refused(
        ConfigError, "turns is 'all'", "'gkd'", data=data, turns="all", method="gkd", student=chatting, teacher=chatting
    )
    pairs = [{**pair, "rejected": "0"} for pair in PAIRS]
    refused(ConfigError, "turns is 'all'", "'dpo'", data=pairs, turns="all", method="dpo")


def test_what_a_run_delivers_ends_for_transformers_where_it_does_for_us(chatting, tmp_path):
    data = [talk(i) for i in range(24)]
    didact.run(**{**QUICK, "student": chatting}, data=data, directory=tmp_path, progress=False)
    settings = json.loads((tmp_path / "student" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [2, 261]
    assert HubTokens(str(tmp_path / "student")).ends == {2, 261}


def test_arguments_for_templates_reach_them(tmp_path):
    save_model(tmp_path, tokenizer=False)
    save_tokenizer(tmp_path, template=GEMMA.replace("{{ bos_token }}", "{{ bos_token }}{{ loud }}"), added=ENDS)
    data = [talk(i) for i in range(24)]
    checks = doctor(data=data, student=str(tmp_path), chat_template_kwargs="loud=false")
    assert "'<s>False<|user|>" in checks["example"].detail
    own = [{**row, "chat_template_kwargs": {"loud": "row"}} for row in data]
    checks = doctor(data=own, student=str(tmp_path), chat_template_kwargs={"loud": False})
    assert "'<s>row<|user|>" in checks["example"].detail


def test_calls_of_tools_are_learned_where_the_template_renders_them(calling, chatting):
    tools = [{"type": "function", "function": {"name": "add"}}]
    data = [{**talk(i, completion=" ", **CALL), "tools": tools} for i in range(24)]
    run = prepared(data=data, student=calling)
    assert learned(run, run.data.train[0]).split("<pad>")[0].endswith("<|assistant|>⟦ (add)<|end|>⟧")
    refused(DataError, "has tools, which the student", data=data, student=chatting)
    refused(DataError, "has tools, which the student 'decoder:1x32:64'", data=data)
    refused(DataError, "has tool_calls, which the method 'gkd'", data=data, student=calling, method="gkd",
            teacher=calling, on_policy=0.5)  # fmt: skip
    bare = [talk(i, completion=" ", **CALL) for i in range(24)]
    refused(DataError, "has tool_calls, which the student", data=bare, student=chatting)


def test_the_names_of_tools_are_said_to_be_unread(calling):
    tool = {"role": "tool", "name": "f", "content": "1"}
    data = [{"messages": [*row["messages"][:-1], tool, row["messages"][-1]]} for row in map(talk, range(24))]
    words = "The student's chat template does not render the 'name' of messages."
    assert doctor(data=data, student=calling)["columns"].detail == words
    assert words in didact.run(**{**QUICK, "student": calling}, data=data, progress=False).notes


def test_bad_answers_are_not_learned_as_good_ones():
    data = [{**pair, "label": place % 2 == 0} for place, pair in enumerate(PAIRS)]
    refused(DataError, "a completion whose label is false", "'sft'", data=data)
    prepared(data=[row for row in data if row["label"]])
    prepared(data=data, method="grpo", verifier="length:4", sampling="max_new_tokens=4,samples=4")


def test_rejected_answers_that_are_not_read_are_named():
    words = "The method sft learns the chosen completions; the rejected ones are not read."
    assert doctor(data=[{**pair, "rejected": "0"} for pair in PAIRS])["columns"].detail == words


def test_texts_are_learned_whole_and_ask_nothing():
    run = prepared(data=[{"text": f"text {i}"} for i in range(40)])
    question = run.data.train[0]
    assert learned(run, question) == f"⟦{question.completion}⟧"
    refused(DataError, "The data are texts without prompts", data=[{"text": f"text {i}"} for i in range(40)],
            method="grpo", verifier="length:4", sampling="max_new_tokens=4,samples=4")  # fmt: skip


def test_how_files_were_read_is_said(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps({**pair, "level": 1}) + "\n" for pair in PAIRS))
    words = "q.jsonl was read as prompt and completion, 36 rows. Other columns, kept for verifiers and methods: level."
    assert doctor(data=str(path))["layout"].detail == words
    result = didact.run(**QUICK, data=str(path), progress=False, directory=tmp_path / "run")
    assert words in result.notes
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["layouts"] == [words]


@pytest.mark.parametrize("seed", range(4))
def test_a_file_of_24_rows_is_enough(tmp_path, seed):
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS[:24]))
    result = didact.run(**{**QUICK, "batch_size": 64}, data=str(path), seed=seed, progress=False)
    assert result.status == "done"
    assert result.metrics["nll"] > 0


def test_files_are_mixed_by_their_shares(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    (tmp_path / "b.jsonl").write_text(
        "".join(json.dumps({"id": i, "prompt": f"b{i}", "completion": "b"}) + "\n" for i in range(12))
    )
    run = prepared(data=f"{tmp_path / 'a.jsonl'}*0.25+{tmp_path / 'b.jsonl'}*0.75")
    assert len(run.data.questions) == 48
    of_b = {q.id for q in run.data.train if q.prompt.startswith("b")}
    assert 0 < len(of_b) < len(run.data.train)
    drawn = [int(i) for _, batch in zip(range(400), run.source, strict=False) for i in batch["id"]]
    assert abs(sum(i in of_b for i in drawn) / len(drawn) - 0.75) < 0.02
    both = f"{tmp_path}/a.jsonl*1+{tmp_path}/b.jsonl*2"
    refused(ConfigError, "packing is 32", "shares of the data", data=both, packing=32)


def loss_of(run, batches):
    """The mean loss of all answers of some batches."""
    total = count = 0.0
    for batch in batches:
        term = completion_cross_entropy(select_tokens(run.student.model(batch), batch))
        total, count = total + term.sum, count + float(term.count)
    return total / count, count


def one_pass(source):
    seen, found = 0, []
    for batch in source:
        found.append(batch)
        seen += batch.size
        if seen >= source.epoch_size:
            return found
    raise AssertionError


@pytest.mark.parametrize("student", ["decoder:2x32:64", "chatting", "gpt2"])
def test_answers_that_share_a_row_teach_what_they_teach_alone(student, request, tmp_path):
    if student == "gpt2":
        save_model(tmp_path / "model", "gpt2")
        student = str(tmp_path / "model")
    student = request.getfixturevalue(student) if student == "chatting" else student
    alone, packed = prepared(data=PAIRS, student=student), prepared(data=PAIRS, student=student, packing=24)
    alone.student.model.eval(), packed.student.model.eval()
    assert packed.source.epoch_size < alone.source.epoch_size / 2
    losses = []
    for run in (alone, packed):
        loss, count = loss_of(run, one_pass(run.source))
        loss.backward()
        losses.append((loss, count, [p.grad for p in run.student.model.parameters()]))
    (wanted, count, gradients), (found, same, others) = losses
    assert count == same
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(others, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    didact.run(**{**QUICK, "student": student}, data=PAIRS, packing=24, progress=False)


def test_packing_where_it_means_nothing_is_refused():
    pairs = [{**pair, "rejected": "0"} for pair in PAIRS]
    refused(ConfigError, "packing is 32", "'dpo'", data=pairs, method="dpo", packing=32)
    refused(ConfigError, "packing is 32", "'grpo'", data=PAIRS, method="grpo", verifier="length:4", packing=32,
            sampling="max_new_tokens=4,samples=4")  # fmt: skip
    with pytest.raises(ConfigError, match="packing is 1"):
        prepared(data=PAIRS, packing=1)
