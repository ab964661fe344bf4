"""Rollouts by an OpenAI-compatible server: what is asked and read, and what becomes of misbehaviour."""

import copy
import logging
import time

import pytest
import torch

from didact import trusting
from didact.errors import ConfigError, DataError, EngineError, TrustError
from didact.learners.causal import load_causal
from didact.parts.models import build_causal
from didact.rollouts import EngineConfig, Sampling, Writer
from didact.rollouts.server import ServerEngine
from didact.teachers.remote import client as module
from didact.teachers.remote.client import WrongAnswerError
from didact.types import Question
from stand_in import check_killed_server, moved, serving, transformers_serve

pytest.importorskip("openai")
QUESTIONS = [Question(id=100 + i, prompt=f"{i}?") for i in range(3)]
SAMPLING = Sampling(max_new_tokens=6, samples=2)
RUN = {
    "method": "grpo",
    "student": "decoder:1x32:64",
    "seed": 3,
    "verifier": "characters:4:4",
    "sampling": "max_new_tokens=3,samples=4",
    "monitors": ("dead_groups=off",),
    "batch_size": 16,
    "steps": 5,
    "lr": 1e-3,
    "checkpoint_every": 1,
    "evaluate_every": 100,
    "progress": False,
}


@pytest.fixture(scope="module")
def learner():
    return build_causal("decoder:1x32:64", seed=3)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.0)


def engine(learner, kind, **options):
    return ServerEngine(learner, EngineConfig(kind=kind, **options), seed=1)


def sample(found, learner, sampling=SAMPLING, visit=0):
    prompts = [learner.tokenizer.prompt(question) for question in QUESTIONS]
    return found.sample(prompts, [question.id for question in QUESTIONS], sampling, visit=visit)


def fresh(learner, completions, temperature=1.0):
    """The log-probabilities by a forward pass over each row."""
    rows = []
    prompts = [learner.tokenizer.prompt(question) for question in QUESTIONS for _ in range(SAMPLING.samples)]
    for prompt, tokens, length in zip(prompts, completions.tokens, completions.lengths.tolist(), strict=True):
        ids = torch.tensor([[*prompt, *tokens[:length].tolist()]])
        with torch.no_grad():
            scores = learner.module(ids) @ learner.head.weight.t() / temperature
        logs = scores[0, len(prompt) - 1 : -1].log_softmax(-1)
        rows.append(logs.gather(1, tokens[:length, None])[:, 0])
    return rows


@pytest.mark.parametrize("names_only", [False, True])
def test_ids_and_log_probabilities_are_the_servers(learner, names_only):
    with serving(learner, names_only=names_only) as (stand_in, kind):
        found = sample(engine(learner, kind), learner)
        requests = stand_in.seen[1:]
    assert [request["prompt"] for request in requests if request["prompt"][1:] == learner.tokenizer.encode("0?")]
    assert len({request["seed"] for request in requests}) == 6 == found.lengths.numel()
    for expected, given, length in zip(fresh(learner, found), found.log_probs, found.lengths, strict=True):
        assert torch.allclose(given[:length], expected, atol=1e-4)
    assert found.written == int(found.lengths.sum()) and found.read == 9


def test_another_visit_gives_other_completions_and_the_same_visit_the_same(learner):
    with serving(learner) as (_, kind):
        one = engine(learner, kind)
        first, again, other = sample(one, learner), sample(one, learner), sample(one, learner, visit=1)
    assert torch.equal(first.tokens, again.tokens)
    assert first.texts != other.texts


def test_a_server_of_text_gets_text_and_its_log_probabilities_are_unknown(learner):
    with serving(learner, text_only=True) as (stand_in, kind):
        one = engine(learner, kind)
        found = sample(one, learner)
        assert not one.takes_ids and {request["prompt"] for request in stand_in.seen[1:]} == {"0?", "1?", "2?"}
        with pytest.raises(EngineError, match="top_k is 5"):
            sample(one, learner, Sampling(top_k=5, samples=2))
        with pytest.raises(DataError, match="takes text only"):
            one.sample([[1, 3, 70]], [0], SAMPLING, visit=0)
    assert found.log_probs.isnan().any(1).all()
    ends = [tokens[length - 1] == 2 for tokens, length in zip(found.tokens, found.lengths, strict=True)]
    assert ends == found.finished.tolist()


def test_unknown_log_probabilities_become_the_students(learner):
    with serving(learner, text_only=True) as (_, kind):
        writer = Writer(learner, SAMPLING, seed=1, engine=EngineConfig(kind=kind))
        batch = writer.write(QUESTIONS).batch
    assert (batch["mismatch"] == 0).all()
    assert torch.equal(batch["importance"], batch["completion_mask"].float())
    assert writer.ledger.cost.sampled_tokens == int(batch["completion_mask"].sum())


MISDEEDS = {
    "429": "status 429",
    "500": "status 500",
    "no JSON": "an answer broke off or is no JSON",
    "half": "an answer broke off or is no JSON",
    "flood": "an answer is too long",
    "two choices": "an answer has not exactly one choice",
    "no choices": "an answer has not exactly one choice",
    "unfinished": "an answer is incomplete",
    "too many tokens": "an answer has too many tokens",
    "unknown ids": "an answer has unknown token ids",
    "other prompt": "an answer is for another prompt",
    "impossible": "an answer has impossible log-probabilities",
}


def test_failures_are_counted_and_repeated(learner):
    with serving(learner) as (stand_in, kind):
        one = engine(learner, kind, retries=20, concurrency=1)
        expected = sample(one, learner)
        stand_in.misdeeds = list(MISDEEDS)
        with pytest.warns(RuntimeWarning, match="failed: "):
            found = sample(one, learner)
    assert torch.equal(found.tokens, expected.tokens)
    reasons = set(MISDEEDS.values())
    assert dict(one.failures) == {reason: list(MISDEEDS.values()).count(reason) for reason in reasons}


def test_a_server_that_goes_on_failing_ends_the_run_with_its_reason(learner):
    with serving(learner) as (stand_in, kind):
        one = engine(learner, kind, retries=2, concurrency=2)
        stand_in.misdeeds = ["500"] * 1000
        with (
            pytest.warns(RuntimeWarning, match="failed: "),
            pytest.raises(EngineError, match="after 3 requests: status 500"),
        ):
            sample(one, learner)
        stand_in.misdeeds = ["401"] * 1000
        with pytest.raises(EngineError, match="after 1 requests: status 401"):
            sample(one, learner)


def test_a_slow_server_is_not_waited_for(learner):
    with serving(learner) as (stand_in, kind):
        one = engine(learner, kind, timeout=0.4, concurrency=8)
        stand_in.misdeeds = ["slow"]
        start = time.monotonic()
        with pytest.warns(RuntimeWarning, match="failed: "):
            sample(one, learner)
    assert one.failures["no answer in time"] == 1 and time.monotonic() - start < 5


def test_no_more_requests_run_at_once_than_are_allowed(learner):
    with serving(learner) as (stand_in, kind):
        sample(engine(learner, kind, concurrency=2), learner)
    assert 1 <= stand_in.most_at_once <= 2


def test_nobody_there_is_found_at_once(learner):
    with pytest.warns(RuntimeWarning, match="failed: "), pytest.raises(EngineError, match="no connection"):
        engine(learner, "server:http://127.0.0.1:9", retries=1)


def test_the_key_comes_from_the_environment_and_is_kept_nowhere(learner, monkeypatch, caplog):
    monkeypatch.setenv("DIDACT_SERVER_KEY", "secret-of-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-others")
    caplog.set_level(logging.DEBUG, "openai")
    with serving(learner) as (stand_in, kind):
        writer = Writer(learner, SAMPLING, engine=EngineConfig(kind=kind, retries=0))
        writer.write(QUESTIONS)
        stand_in.misdeeds = ["500"] * 9
        with pytest.warns(RuntimeWarning, match="failed: "), pytest.raises(EngineError) as caught:
            writer.write(QUESTIONS)
    assert set(stand_in.keys) == {"Bearer secret-of-mine"}
    assert "secret" not in f"{writer.state_dict()} {writer.options} {caught.value} {caplog.text}"
    with pytest.raises(ConfigError, match="has a password in it") as refused:
        EngineConfig(kind="server:http://me:hidden@host/v1")
    assert "hidden" not in str(refused.value)


def test_a_file_may_not_name_a_server(learner):
    with serving(learner) as (stand_in, kind):
        with trusting.untrusted("config.json"), pytest.raises(TrustError, match="asks to send prompts to 'server:http"):
            engine(learner, kind)
        assert not stand_in.keys
        with trusting.untrusted("config.json", [kind]):
            assert engine(learner, kind).model == "student"


@pytest.mark.parametrize("reload", ["sglang", "vllm"])
def test_new_weights_are_written_and_read(learner, reload, tmp_path):
    student = copy.deepcopy(learner)
    with serving(copy.deepcopy(learner)) as (stand_in, kind):
        stand_in.folder = tmp_path / "served"
        one = engine(student, kind, reload=reload, folder=str(stand_in.folder))
        one.load(0)
        before = sample(one, student)
        moved(student)
        one.load(0)
        assert torch.equal(sample(one, student).tokens, before.tokens)
        one.load(1)
        after = sample(one, student)
    paths = ["/update_weights_from_disk"] if reload == "sglang" else ["/collective_rpc", "/reset_prefix_cache"]
    assert [path for path, _ in stand_in.reloads] == paths * 2
    assert not torch.equal(before.tokens, after.tokens)
    for expected, given, length in zip(fresh(student, after), after.log_probs, after.lengths, strict=True):
        assert torch.allclose(given[:length], expected, atol=1e-4)


def test_a_server_that_begins_anew_is_given_the_new_weights_again(learner, tmp_path):
    student = moved(copy.deepcopy(learner))
    with serving(copy.deepcopy(learner)) as (stand_in, kind):
        one = engine(student, kind, reload="sglang", folder=str(tmp_path / "served"), concurrency=2)
        first = sample(one, student)
        one.load(1)
        expected = sample(one, student)
        stand_in.misdeeds = ["", "", "", "restart"]
        with pytest.warns(RuntimeWarning, match="failed: no connection"):
            found = sample(one, student)
    assert torch.equal(found.tokens, expected.tokens) and not torch.equal(first.tokens, expected.tokens)
    assert one.failures == {"no connection": 1} and len(stand_in.reloads) == 2


def test_an_answer_that_came_while_another_was_lost_is_asked_for_again(learner, tmp_path, monkeypatch):
    """The server may have begun anew in between, and have answered by its first weights."""
    student = moved(copy.deepcopy(learner))
    with serving(copy.deepcopy(learner)) as (stand_in, kind):
        one = engine(student, kind, reload="sglang", folder=str(tmp_path / "served"), concurrency=1)
        one.load(1)
        expected, asked, ask = sample(one, student), [], one._ask

        def doubtful(prompt, *rest):
            began = time.monotonic()
            answer, took = ask(prompt, *rest)
            asked.append(list(prompt))
            if len(asked) == 3:
                one.client.count(WrongAnswerError("lost", "beside this one"), began)
            return answer, took

        monkeypatch.setattr(one, "_ask", doubtful)
        with pytest.warns(RuntimeWarning, match="failed: lost"):
            found = sample(one, student)
    assert asked[-1] == asked[2] and len(asked) == len(found.tokens) + 1
    assert torch.equal(found.tokens, expected.tokens) and len(stand_in.reloads) == 2


@pytest.mark.slow
@pytest.mark.parametrize("back", [True, False])
def test_a_run_whose_server_is_killed_ends_as_one_that_is_left_alone(learner, tmp_path, back):
    check_killed_server(learner, RUN, tmp_path, back=back)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_transformers_serve_completes_and_goes_on_after_it_was_killed(tmp_path):
    """The real server, on a small model with a tokenizer of its own."""
    pytest.importorskip("fastapi"), pytest.importorskip("uvicorn")
    from tiny_language import save_model

    folder = tmp_path / "model"
    save_model(folder)
    learner, port = load_causal(str(folder)), 18765
    config = EngineConfig(kind=f"server:http://127.0.0.1:{port}", model=str(folder), concurrency=2, retries=2)
    still = Sampling(max_new_tokens=6, temperature=0.0)
    with transformers_serve(folder, port):
        writer = Writer(learner, SAMPLING, engine=config)
        batch = writer.write(QUESTIONS).batch
        greedy = Writer(learner, still, engine=config)
        first = greedy.write(QUESTIONS)
    own = Writer(learner, still).write(QUESTIONS)
    with pytest.warns(RuntimeWarning, match="failed: "), pytest.raises(EngineError, match="after 3 requests: no conn"):
        greedy.write(QUESTIONS)
    with transformers_serve(folder, port):
        again = greedy.write(QUESTIONS)
    writer.engine.client.close(), greedy.engine.client.close()
    assert not writer.engine.takes_ids and batch["completion_mask"].any(1).all()
    assert again.texts == first.texts and torch.equal(again.batch["input_ids"], first.batch["input_ids"])
    # A byte that is no character has three in the text, so that fewer tokens fit.
    for theirs, ours in zip(first.texts, own.texts, strict=True):
        assert len(theirs) > 2 and ours.startswith(theirs.rstrip("\N{REPLACEMENT CHARACTER}"))
