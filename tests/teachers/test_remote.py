"""Teachers and judges behind a server: what is asked and read, what it costs, and what becomes of misbehaviour."""

import json
import threading
import time

import pytest
import torch

from didact import trusting
from didact.errors import ConfigError, DataError, EngineError, TeacherError, TrustError
from didact.memory.answer_store import AnswerStore, Spent
from didact.parts.models import build_causal
from didact.parts.part import ForExamples, ForQuestions
from didact.parts.verifier import verifier_of
from didact.sources.completions import CompletionSource
from didact.teachers.remote import client as module
from didact.teachers.remote.config import RemoteConfig
from didact.types import EMBEDDING, Examples, Question, Questions, TopK
from stand_in import serving

pytest.importorskip("openai")
QUESTIONS = Questions(items=tuple(Question(id=i, prompt=f"{i}+1=", completion=f"{i + 1} .") for i in range(6)))
TEXTS = tuple(f"{'a' * (i % 3)} text {i}" for i in range(8))
EXAMPLES = Examples(
    tensors={
        "input_ids": torch.arange(16).view(8, 2),
        "attention_mask": torch.ones(8, 2, dtype=torch.long),
        "label": torch.arange(8) % 2,
        "id": torch.arange(8) + 50,
    },
    task="classification",
    modality="text",
    classes=("few", "many"),
    texts=TEXTS,
)


@pytest.fixture(scope="module")
def learner():
    return build_causal("decoder:1x32:64", seed=3)


@pytest.fixture(autouse=True)
def _own_place(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "WAIT", 0.0)
    monkeypatch.setenv("DIDACT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def batch_of(learner, **options):
    """All questions with their completions, a row each or packed into two."""
    source = CompletionSource(QUESTIONS, learner.tokenizer, batch_size=6, max_length=32, **options)
    return source.batch(torch.arange(2 if options.get("packed") else 6))


def teacher_of(learner, kind, **options):
    words = "".join(f",{name}={value}" for name, value in options.items())
    return ForQuestions(student=learner).open(f"{kind}{words}", "teacher").model


def labels_of(kind, **options):
    words = "".join(f",{name}={value}" for name, value in options.items())
    return ForExamples(examples=EXAMPLES).open(f"{kind}{words}", "teacher").model


def judge_of(kind, **options):
    words = "".join(f",{name}={value}" for name, value in options.items())
    return verifier_of(f"judge:{kind.removeprefix('server:')}{words}")


def expected_top(learner, ids, count):
    """The likeliest tokens after each, by a forward pass of the model itself."""
    with torch.no_grad():
        scores = learner.module(torch.tensor([ids])) @ learner.head.weight.t()
    return scores[0].log_softmax(-1).topk(count)


@pytest.mark.parametrize("ways", [("prompt_logprobs",), ("echo",)])
@pytest.mark.parametrize("packed", [False, True])
def test_the_likeliest_tokens_are_the_models_own(learner, ways, packed):
    batch = batch_of(learner, packed=packed)
    with serving(learner, ways=ways) as (stand_in, kind):
        teacher = teacher_of(learner, kind, top_k=5)
        found = teacher.signal(batch)
        asked = len(stand_in.seen)
        again = teacher.signal(batch)
        assert len(stand_in.seen) == asked
    assert isinstance(found, TopK) and torch.equal(found.log_probs, again.log_probs)
    rows = 0
    for question in QUESTIONS:
        ids = [*learner.tokenizer.prompt(question), *learner.tokenizer.completion(question)]
        expected = expected_top(learner, ids, 5)
        whole, trusted = batch["input_ids"].flatten().tolist(), found.trust.flatten() > 0
        start = next(i for i in range(len(whole)) if whole[i : i + len(ids)] == ids)
        here = slice(start, start + len(ids) - 1)
        assert trusted[here].all() and not trusted[start + len(ids) - 1]
        assert torch.equal(found.ids.flatten(0, 1)[here], expected.indices[:-1])
        assert torch.allclose(found.log_probs.flatten(0, 1)[here], expected.values[:-1], atol=1e-5)
        tail = 1 - expected.values[:-1].exp().sum(-1)
        assert torch.allclose(found.tail.flatten()[here], tail, atol=1e-5)
        rows += len(ids) - 1
    assert int((found.trust > 0).sum()) == rows
    assert teacher.cost.teacher_calls == teacher.asker.store.spent.calls == asked


def test_another_tokenizer_is_named(learner):
    with serving(learner) as (_, kind):
        teacher = teacher_of(build_causal("decoder:1x32:64", seed=3), kind)
        teacher.tokenizer = type("Shifted", (), {"encode": learner.tokenizer.encode, "vocabulary": 260})()
        teacher.tokenizer.decode = lambda ids, special=False: learner.tokenizer.decode([ids[0] + 1])
        with pytest.raises(EngineError, match="has another tokenizer: its token 108 is 'h', and the student's is 'i'"):
            teacher.connect()


def test_a_server_without_log_probabilities_is_named(learner):
    with (
        serving(learner, ways=(), text_only=True) as (_, kind),
        pytest.raises(EngineError, match="gives no log-probabilities of a prompt's tokens"),
    ):
        teacher_of(learner, kind).connect()


MISDEEDS = {
    "429": "status 429",
    "500": "status 500",
    "no JSON": "an answer broke off or is no JSON",
    "half": "an answer broke off or is no JSON",
    "flood": "an answer is too long",
    "two choices": "an answer has not exactly one choice",
    "no choices": "an answer has not exactly one choice",
    "half the places": "an answer is incomplete",
    "other prompt": "an answer is for another prompt",
}


def test_failures_are_counted_and_repeated_and_lose_nothing(learner):
    batch = batch_of(learner)
    with serving(learner) as (stand_in, kind):
        calm = teacher_of(learner, kind, top_k=2, answers="calm.sqlite").signal(batch)
        teacher = teacher_of(learner, kind, top_k=2, answers="stormy.sqlite", retries=20, concurrency=1)
        teacher.connect()
        stand_in.misdeeds = list(MISDEEDS)
        with pytest.warns(RuntimeWarning, match="failed: "):
            found = teacher.signal(batch)
    assert torch.equal(found.log_probs, calm.log_probs) and torch.equal(found.ids, calm.ids)
    failures = teacher.asker.client.failures
    assert dict(failures) == {reason: list(MISDEEDS.values()).count(reason) for reason in MISDEEDS.values()}
    assert "failed and were repeated: " in teacher.remarks()[1]
    # Every request that was sent is counted, and the spent tokens are those of whole answers and of lost ones.
    assert teacher.asker.store.spent.calls == 1 + 6 + len(MISDEEDS)


def test_no_answer_is_paid_for_twice(learner):
    """Half of the answers come, then the server is gone; another process asks for the others only."""
    batch = batch_of(learner)
    with serving(learner) as (stand_in, kind):
        first = teacher_of(learner, kind, retries=0, concurrency=1)
        first.connect()
        stand_in.misdeeds = [""] * 3 + ["500"] * 9
        with pytest.warns(RuntimeWarning, match="failed: "), pytest.raises(EngineError, match="status 500"):
            first.signal(batch)
        first.asker._pool.shutdown()
        stand_in.misdeeds, before = [], len(stand_in.seen)
        second = teacher_of(learner, kind)
        second.signal(batch)
        assert len(stand_in.seen) - before == 3
    assert second.asker.stored == 3 and second.cost.teacher_calls == 3


@pytest.mark.parametrize("concurrency", [1, 7, 32])
def test_a_budget_of_calls_is_never_exceeded(learner, concurrency):
    texts = [f"answer {i}" for i in range(60)]
    with serving(learner, say=lambda _: '{"reason": "", "score": 1}') as (stand_in, kind):
        judge = judge_of(kind, calls=25, concurrency=concurrency, retries=9)
        stand_in.misdeeds = ["", "", "500", "", "half", "429"] * 4
        with pytest.warns(RuntimeWarning, match="failed: "), pytest.raises(EngineError, match="calls=25, of which 25 "):
            judge.verify(texts, [Question(id=0, prompt="?")] * 60)
        assert len(stand_in.seen) == 25 == judge.asker.store.spent.calls
        # Another process has the same budget.
        with pytest.raises(EngineError, match="is used up"):
            judge_of(kind, calls=25).verify(texts, [Question(id=0, prompt="?")] * 60)
        assert len(stand_in.seen) == 25 and len(judge.asker.store) >= 13


def test_a_budget_of_tokens_and_money_waits_for_cheaper_answers_and_is_kept(learner):
    questions = [Question(id=0, prompt="?")] * 40
    with serving(learner, say=lambda _: '{"reason": "", "score": 1}') as (stand_in, kind):
        # An answer takes 12 tokens, and may take about a thousand.
        judge = judge_of(kind, tokens=1500, concurrency=8)
        judge.verify([f"answer {i}" for i in range(40)], questions)
        assert judge.asker.store.spent.tokens == 12 * 41 and stand_in.most_at_once <= 2
        priced = judge_of(kind, answers="b.sqlite", money=0.01, input_price=10, output_price=20)
        with pytest.raises(EngineError, match=r"money=0\.01, of which"):
            priced.verify([f"answer {i}" for i in range(40)], questions)
        spent = priced.asker.store.spent
    assert spent.money == pytest.approx(spent.calls * (10 * 10 + 2 * 20) / 1e6) and spent.money <= 0.01
    with pytest.raises(ConfigError, match="nothing has a price"):
        RemoteConfig(url="http://a", money=1.0)


def test_two_askers_never_take_more_than_there_is(tmp_path):
    stores = [AnswerStore(tmp_path / "answers") for _ in range(2)]
    taken = []

    def take(store):
        for _ in range(40):
            taken.append(store.take(Spent(1), Spent(50, 1, 1)))

    threads = [threading.Thread(target=take, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 50 == stores[0].spent.calls


def test_the_file_of_answers_is_named_if_it_is_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("no answers " * 99)
    with pytest.raises(DataError, match=r"notes.txt cannot be read or written: file is not a database"):
        AnswerStore(tmp_path / "notes.txt")


def test_a_model_that_changes_between_calls_is_named(learner):
    batch = batch_of(learner)
    with serving(learner) as (stand_in, kind):
        teacher = teacher_of(learner, kind, model="student", concurrency=1)
        teacher.connect()
        stand_in.model = "another"
        with pytest.raises(EngineError, match="answered as 'student' before, and now as 'another'"):
            teacher.signal(batch)
        assert len(teacher.asker.store) == 1


def test_nobody_there_and_a_missing_key_are_named(learner, monkeypatch):
    with pytest.warns(RuntimeWarning, match="failed: "), pytest.raises(EngineError, match="no connection"):
        teacher_of(learner, "server:http://127.0.0.1:9", retries=1, model="m").connect()
    with serving(learner) as (stand_in, kind):
        stand_in.wants = "secret-of-mine"
        with pytest.raises(EngineError, match="wants a key, in the environment variable DIDACT_SERVER_KEY"):
            teacher_of(learner, kind).connect()
        monkeypatch.setenv("DIDACT_MINE_KEY", "wrong-secret")
        with pytest.raises(EngineError, match="another key, in the environment variable DIDACT_MINE_KEY") as caught:
            teacher_of(learner, kind, key="mine").connect()
        # The server repeats the key in what it says.
        assert "Bearer ***" in str(caught.value) and "wrong-secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        monkeypatch.setenv("DIDACT_MINE_KEY", "secret-of-mine")
        teacher_of(learner, kind, key="mine").connect()


def test_a_slow_server_and_a_long_run_end(learner):
    batch = batch_of(learner)
    with serving(learner) as (stand_in, kind):
        teacher = teacher_of(learner, kind, timeout=0.5)
        teacher.connect()
        stand_in.misdeeds = ["slow"]
        with pytest.warns(RuntimeWarning, match="no answer in time"):
            teacher.signal(batch)
        stand_in.later, stand_in.misdeeds, began = "0.4", ["429"], time.monotonic()
        with pytest.warns(RuntimeWarning, match="status 429"):
            teacher_of(learner, kind, answers="b").connect()
        assert time.monotonic() - began > 0.4
        over = teacher_of(learner, kind, answers="c", seconds=1e-9)
        with pytest.raises(EngineError, match="for longer than seconds=1e-09"):
            over.connect()


CHATS = {
    "refusal": "refused",
    "filtered": "refused",
    "cut": "was cut off",
    "silence": "said nothing",
    "prose": "gave no JSON",
    "another schema": "gave JSON that does not fit the schema",
    "too many tokens": "wrote more tokens than it may",
}


def test_a_judge_scores_and_abstains(learner):
    def say(messages):
        if len(messages) == 1:
            return '{"ok": true}'
        told = json.loads(messages[-1]["content"])
        return json.dumps({"reason": told["request"], "score": len(told["answer"]) / 10})

    texts = ["x" * i for i in range(1, 9)]
    questions = [Question(id=i, prompt=f"{i}?", answer="1") for i in range(8)]
    with serving(learner, say=say) as (stand_in, kind):
        judge = judge_of(kind, concurrency=1)
        judge.connect()
        stand_in.misdeeds = ["", *CHATS]
        with pytest.warns(RuntimeWarning, match="could not score"):
            found = judge.verify(texts, questions)
        sent = [json.loads(body["messages"][-1]["content"]) for body in stand_in.seen[1:]]
        again = judge.verify(texts[:1], questions[:1])
    assert sent[2] == {"request": "2?", "reference": "1", "answer": "xxx"}
    assert stand_in.seen[1]["response_format"]["json_schema"]["schema"]["required"] == ["reason", "score"]
    assert found.trust.tolist() == [1, 0, 0, 0, 0, 0, 0, 0] and found.value[0] == pytest.approx(0.1)
    assert torch.equal(again.value, found.value[:1])
    assert judge.abstentions == {reason: list(CHATS.values()).count(reason) for reason in CHATS.values()}


def test_a_judge_without_structured_outputs_is_asked_in_words(learner):
    with serving(learner, structured=False, say=lambda _: '```json\n{"reason": "", "score": 0.5}\n```') as (
        server,
        kind,
    ):
        found = judge_of(kind).verify(["x"], [Question(id=0, prompt="?")])
    assert found.value.tolist() == [0.5] and "response_format" not in server.seen[-1]


def test_a_judge_has_its_own_words_and_schema(learner, tmp_path):
    (tmp_path / "words.txt").write_text("Be kind.")
    schema = {"type": "object", "properties": {"score": {"type": "integer", "maximum": 5}}, "required": ["score"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    with serving(learner, say=lambda _: '{"score": 4}') as (stand_in, kind):
        found = judge_of(kind, instruction="words.txt", schema="schema.json").verify(
            ["x"], [Question(id=0, prompt="?")]
        )
    assert found.value.tolist() == [4.0] and stand_in.seen[-1]["messages"][0]["content"] == "Be kind."
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    with pytest.raises(ConfigError, match="no required number 'score'"):
        judge_of(kind, schema="schema.json")


def test_the_classes_of_examples_are_named_in_words(learner):
    def say(messages):
        return json.dumps({"label": "many" if "aa" in messages[-1]["content"] else "few"})

    with serving(learner, say=say) as (stand_in, kind):
        teacher = labels_of(kind, concurrency=1)
        teacher.connect()
        stand_in.misdeeds = ["", "prose", "another schema"]
        found = teacher.signal(EXAMPLES.batch())
        assert {body["messages"][-1]["content"] for body in stand_in.seen[1:]} == set(TEXTS)
    assert found.trust.tolist() == [1, 0, 0, 1, 1, 1, 1, 1]
    assert found.labels[found.trust > 0].tolist() == [[1, 0], [1, 0], [1, 0], [0, 1], [1, 0], [1, 0]]
    assert teacher.remarks()[1] == (
        "The teacher abstained on 2 examples: it gave no JSON (1), gave JSON that does not fit the schema (1)."
    )


def test_embeddings_are_features(learner):
    with serving(learner) as (stand_in, kind):
        teacher = labels_of(kind, gives="embeddings", retries=3, concurrency=1)
        stand_in.misdeeds = ["", "other order", "two choices"]
        with pytest.warns(RuntimeWarning, match="has not exactly one embedding"):
            found = teacher.signal(EXAMPLES.batch())
    expected = [[text.count(letter) + 0.5 for letter in "abcdefgh"] for text in TEXTS]
    assert torch.equal(found.features[EMBEDDING], torch.tensor(expected))
    assert teacher.asker.client.failures["an answer has not exactly one embedding"] == 2


def test_options_are_checked(learner):
    for words, match in {
        "ftp://a": "must be an address with http",
        "http://me:hidden@host": "has a password in it",
        "http://a,cals=3": "Did you mean calls",
        "http://a,calls=0": "calls is 0, but must be above 0",
        "http://a,calls=many": "must be a whole number",
        "http://a,key=a-b": "key is 'a-b'",
        "http://a,model": "must be like URL,model=NAME",
    }.items():
        with pytest.raises(ConfigError, match=match) as caught:
            teacher_of(learner, f"server:{words}")
        assert "hidden" not in str(caught.value)
    with trusting.untrusted("config.json"), pytest.raises(TrustError, match="to send prompts to 'server:http://a'"):
        teacher_of(learner, "server:http://a,model=b")
    with pytest.raises(TeacherError, match="of the kind image"):
        images = Examples(tensors={"x": torch.zeros(2, 1, 2, 2), "id": torch.arange(2)}, task="classification",
                          modality="image", classes=("a",))  # fmt: skip
        ForExamples(examples=images).open("server:http://a", "teacher").model.signal(images.batch())
