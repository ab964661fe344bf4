"""Rollouts of several turns: whose tokens are learned, what is refused, and what a bad tool can do."""

import json
import shutil
import time
from collections import Counter

import pytest
import torch

import didact
from didact.errors import ConfigError
from didact.learners.causal import load_causal
from didact.loop import RunDirectory
from didact.parts.environment import environment_of
from didact.parts.models import build_causal
from didact.rollouts import EnvironmentConfig, Sampling, Writer
from didact.rollouts.environments import (
    Calculator,
    FactoryEnvironment,
    Guarded,
    MessagesEnvironment,
    ToolEnvironment,
    as_environment,
    calculate,
)
from didact.teachers import FunctionVerifier
from didact.types import Question

QUESTIONS = [Question(id=7 + i, prompt=f"{i}?", answer="x") for i in range(3)]
SAMPLING = Sampling(max_new_tokens=4, samples=2)


class Echo:
    """Says how long the turn before was, for two turns."""

    stop = ()

    def __init__(self):
        self.count = 0

    def reset(self, question):
        return "hi " if question.id == 8 else None

    def respond(self, text):
        self.count += 1
        return f"<{self.count}>" if self.count < 3 else None


@pytest.fixture(scope="module")
def learner():
    model = build_causal("decoder:1x32:96", seed=3)
    with torch.no_grad():
        model.module.model.norm.weight.mul_(3.0)
    return model


def writer(learner, make=Echo, sampling=SAMPLING, **limits):
    # A full stop ends about every turn: bytes are nearly equally likely at first.
    stops = tuple(map(chr, range(32, 127)))
    sampling = Sampling(max_new_tokens=sampling.max_new_tokens, samples=sampling.samples, stop=stops)
    return Writer(learner, sampling, seed=1, environment=make, limits=EnvironmentConfig(kind="own", **limits))


def parts_of(batch, row):
    """The tokens of a row as runs: whether they are learned, and their ids."""
    ids, own = batch["input_ids"][row].tolist(), batch["completion_mask"][row].tolist()
    count, runs = int(batch["attention_mask"][row].sum()), []
    for token, mine in list(zip(ids, own, strict=True))[:count]:
        if not runs or runs[-1][0] != mine:
            runs.append((mine, []))
        runs[-1][1].append(token)
    return runs


def test_the_loss_covers_what_the_model_wrote_alone(learner):
    found = writer(learner, turns=3)
    rollouts = found.write(QUESTIONS)
    batch, seen = rollouts.batch.check(), 0
    for row, question in enumerate(rollouts.questions):
        runs = parts_of(batch, row)
        said = [learner.tokenizer.decode(ids) for mine, ids in runs if not mine]
        prompt = question.prompt + ("hi " if question.id == 8 else "")
        assert said[0] == prompt and all(text == f"<{place}>" for place, text in enumerate(said[1:], 1))
        seen += len(said) - 1
        assert batch["turns"][row] == sum(mine for mine, _ in runs) <= 3
        whole = learner.tokenizer.decode([token for _, ids in runs for token in ids])
        assert whole.removeprefix(question.prompt) == rollouts.texts[row]
    assert seen >= 4
    with torch.no_grad():
        fresh = learner(batch).logits.log_softmax(-1)[:, :-1].gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    mask = batch["completion_mask"]
    assert torch.allclose(batch["log_probs"][mask], fresh[mask[:, 1:]], atol=1e-4)
    assert (batch["log_probs"][~mask] == 0).all()
    assert found.ledger.cost.sampled_tokens == int(mask.sum())


def test_samples_differ_and_depend_on_nothing_else(learner):
    first, alone = writer(learner).write(QUESTIONS), writer(learner).write(QUESTIONS[2:])
    assert first.texts[4:] == alone.texts and len(set(first.texts)) == 6


def test_turns_and_tokens_are_limited(learner):
    short = writer(learner, turns=1).write(QUESTIONS).batch
    assert (short["turns"] == 1).all()
    few = writer(learner, tokens=3, turns=9).write(QUESTIONS).batch
    # A turn begins below the limit, and has at most 4 tokens and an answer of 3.
    assert int(few["attention_mask"].sum(1).max()) <= 6 + 3 + 4 + 3
    full = build_causal("decoder:1x32:16", seed=3)
    assert writer(full, turns=50, tokens=1000).write(QUESTIONS).batch["input_ids"].shape[1] <= 16 + 3


class Bad:
    def __init__(self, way):
        self.way = way

    def reset(self, question):
        return None

    def respond(self, text):
        if self.way == "raises":
            raise RuntimeError("no")
        if self.way == "loops":
            while True:
                time.sleep(0.001)
        return "x" * 10**6 if self.way == "huge" else {"no": "text"}


@pytest.mark.parametrize(
    ("way", "answer", "reason"),
    [
        ("raises", "error: it raised RuntimeError", "raised RuntimeError"),
        ("loops", "error: it took too long", "took too long"),
        ("huge", "x" * 50, "said too much"),
        ("malformed", "error: it returned dict, which is no text", "returned dict, which is no text"),
    ],
)
def test_a_bad_tool_is_bounded_and_counted(way, answer, reason):
    failures = Counter()
    config = EnvironmentConfig(kind="own", seconds=0.2, characters=50)
    start = time.monotonic()
    assert Guarded(Bad(way), config, failures).respond("a") == answer
    assert failures == {reason: 1} and time.monotonic() - start < 3


def test_the_calculator_computes_what_is_asked_alone():
    asked = {"<<12*7=": "84>>", "a <<(1+2)/4=": "0.75>>", "x=": "", "<<1+1=2>> so 2=": "", "<<2**9=": "?>>"}
    asked |= {"<<1/0=": "?>>", "<<__import__('os')=": "?>>", "<<" + "9" * 300 + "=": "?>>", "done": None}
    assert {text: Calculator().respond(text) for text in asked} == asked
    with pytest.raises(ValueError, match="at most 200"):
        calculate("1+" * 200 + "1")


def test_tools_are_called_by_name_and_mistakes_are_answered():
    def add(a, b):
        return a + b

    tools = ToolEnvironment(add)
    assert tools.respond('<tool_call>{"name": "add", "arguments": {"a": 2, "b": 3}}</tool_call>') == "5"
    assert tools.respond("nothing to ask") is None
    for words in ('{"name": "rm"}', "{", "[]", '{"name": ["add"]}'):
        assert tools.respond(f"<tool_call>{words}</tool_call>") == "error: no call of add"
    guarded, failures = EnvironmentConfig(), Counter()
    found = Guarded(tools, guarded, failures).respond('<tool_call>{"name": "add", "arguments": {"c": 1}}</tool_call>')
    assert found == "error: it raised TypeError" and failures["raised TypeError"] == 1


def test_environments_of_trl_and_of_verifiers_are_wrapped():
    class Counting:
        def reset(self, **row):
            self.total = len(row["prompt"])
            return f"begin at {self.total}"

        def add(self, amount: int) -> str:
            self.total += amount
            return f"now {self.total}"

    one = as_environment(Counting())
    assert isinstance(one, FactoryEnvironment) and one.reset(Question(id=1, prompt="abc", answer="4")) == "begin at 3"
    assert one.respond('<tool_call>{"name": "add", "arguments": {"amount": 4}}</tool_call>') == "now 7"
    assert set(one.tools) == {"add"}

    class Game:
        async def is_completed(self, messages, state):
            return state["turn"] == 2

        async def env_response(self, messages, state):
            return [{"role": "user", "content": f"{messages[-1]['content']}, {state['answer']}"}], state

    other = as_environment(Game())
    other.reset(Question(id=1, prompt="abc", answer="4"))
    assert isinstance(other, MessagesEnvironment)
    assert [other.respond("go"), other.respond("on")] == ["go, 4", None]


def test_answers_in_a_chat_are_rendered_by_the_template(tmp_path):
    from tiny_language import ENDS, TOOLS, save_model, save_tokenizer

    save_model(tmp_path, vocab_size=300, max_position_embeddings=128)
    save_tokenizer(tmp_path, template=TOOLS, added=ENDS)
    model = load_causal(str(tmp_path))
    with torch.no_grad():
        model.head.weight[model.tokenizer.template.end] = 3 * model.head.weight[:262].abs().max(0).values
    question = Question(id=1, prompt="", messages=({"role": "user", "content": "ask"},))
    rollouts = Writer(
        model, Sampling(max_new_tokens=12, samples=8), seed=2, environment=Echo, limits=EnvironmentConfig(kind="own")
    ).write([question])
    several = 0
    for row in range(8):
        runs = parts_of(rollouts.batch, row)
        texts = [model.tokenizer.decode(ids, special=True) for _, ids in runs]
        assert texts[0] == "<|user|>ask<|end|><|assistant|>" and runs[0][0] is False
        for place, (mine, _) in enumerate(runs[1:], 1):
            assert mine is (place % 2 == 1)
            if not mine:
                several += 1
                assert texts[place] == f"<|user|><{place // 2}><|end|><|assistant|>"
            elif place + 1 < len(runs):
                assert texts[place].endswith("<|end|>")
    assert several >= 2


def test_specs_and_combinations(tmp_path):
    assert environment_of("") is None and environment_of("calculator") is Calculator
    with pytest.raises(ConfigError, match="environment is 'calculater'"):
        environment_of("calculator".replace("o", "e"))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}?", "completion": "1"}) + "\n" for i in range(20)))
    for method, more, words in (
        ("sft", {}, "which have one turn"),
        ("grpo", {"engine": "int8"}, "only the student itself can take turns"),
    ):
        with pytest.raises(ConfigError, match=words):
            run = {"data": path, "student": "decoder:1x32", "verifier": "characters:4:4", "environment": "calculator"}
            didact.run(method=method, **run, **more)


def test_a_run_with_turns_is_resumed_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(RunDirectory, "prune", lambda _: None)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"<<{i}+1", "answer": "2"}) + "\n" for i in range(40)))
    settings = {
        "method": "grpo",
        "data": path,
        "student": "decoder:1x32:64",
        "verifier": "characters:4:4",
        "sampling": {"max_new_tokens": 6, "samples": 4, "stop": tuple("0123456789")},
        "environment": "calculator,turns=3",
        "batch_size": 16,
        "steps": 4,
        "lr": 1e-3,
        "checkpoint_every": 2,
        "evaluate_every": 100,
        "progress": False,
    }
    whole = didact.run(**settings, directory=tmp_path / "run")
    shutil.rmtree(max((tmp_path / "run" / "checkpoints").glob("step-*")))
    shutil.rmtree(tmp_path / "run" / "student")
    (tmp_path / "run" / "result.json").unlink()
    again = didact.resume(tmp_path / "run", progress=False)
    weights = [torch.cat([p.detach().flatten() for p in one.learner.parameters()]) for one in (whole, again)]
    assert torch.equal(*weights) and again.cost.sampled_tokens == whole.cost.sampled_tokens


def test_the_verifier_reads_all_that_was_said_in_a_text(learner):
    seen = []
    verifier = FunctionVerifier(lambda text, question: float(seen.append(text) or 1))
    Writer(learner, SAMPLING, verifier, environment=Echo, limits=EnvironmentConfig(kind="own")).write(QUESTIONS[1:2])
    assert all(text.startswith("hi ") for text in seen) and len(seen) == 2
