"""Rollouts of other weights or arithmetic than the student's: what they are, their correction, and resumption."""

import copy
import json
import math
import shutil

import pytest
import torch

import didact
from didact.errors import ConfigError
from didact.loop import RunDirectory
from didact.losses.policy.importance import CORRECTIONS, importance_weights
from didact.losses.policy.outputs import policy_outputs
from didact.methods.language.grpo import GRPO, Config
from didact.parts.models import build_causal
from didact.rollouts import EngineConfig, Sampler, Sampling, Writer, pad_rows, rollout_rounds
from didact.rollouts.engines import LocalEngine
from didact.rollouts.int8 import Int8Product
from didact.rollouts.scoring import score_tokens
from didact.teachers import FunctionVerifier
from didact.types import Batch, Question, Questions, RolloutFeed
from rollouts.models import learner as hub_learner
from small_questions import reward
from stand_in import moved, serving

QUESTIONS = Questions(items=tuple(Question(id=100 + i, prompt=f"{i}?", answer=str(i)) for i in range(6)))
SAMPLING = Sampling(max_new_tokens=5, samples=2)


@pytest.fixture
def learner():
    return build_causal("decoder:1x32:64", seed=3)


def test_importance_weights_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    logs, sampled = torch.randn(2, 4, 6, generator=generator)
    mask = torch.rand(4, 6, generator=generator) < 0.7
    for correction in CORRECTIONS:
        found = importance_weights(logs, sampled, mask, correction, 1.5)
        for b in range(4):
            places = mask[b].nonzero()[:, 0].tolist()
            ratios = {t: math.exp(logs[b, t] - sampled[b, t]) for t in places}
            if correction.startswith("sequence"):
                ratios = dict.fromkeys(places, math.prod(ratios.values()))
            for t in range(6):
                ratio = ratios.get(t, 0.0)
                kept = (1.5 if correction.endswith("truncate") else 0.0) if ratio > 1.5 else ratio
                assert float(found[b, t]) == pytest.approx(kept, rel=1e-5)
    with pytest.raises(ConfigError, match="correction is 'none'"):
        importance_weights(logs, sampled, mask, "none")


@pytest.mark.parametrize("bias", [False, True])
def test_an_int8_product_is_that_of_whole_numbers(bias):
    generator = torch.Generator().manual_seed(1)
    weight, x, more = torch.randn(24, 16, generator=generator), torch.randn(5, 16), torch.randn(5, 24)
    weight[3] = 0.0
    shift = torch.randn(24, generator=generator) if bias else None
    layer = torch.nn.Linear(16, 24, bias=bias).requires_grad_(False)
    layer.weight.copy_(weight)
    if shift is not None:
        layer.bias.copy_(shift)
    product = Int8Product(layer)
    expected = torch.zeros(5, 24, dtype=torch.float64)
    for n in range(5):
        for o in range(24):
            a, b = (part.double() for part in (x[n], weight[o]))
            scaled, rounded = a / (a.abs().max() / 64), (b / max(float(b.abs().max()) / 127, 1e-30)).round()
            # Two whole numbers: the second has 128 steps between two of the first.
            scaled = scaled.round() + ((scaled - scaled.round()) * 128).round() / 128
            found = scaled @ rounded * a.abs().max() / 64 * b.abs().max() / 127
            expected[n, o] = found + (0.0 if shift is None else shift[o])
    assert torch.allclose(product(x).double(), expected, atol=1e-4)
    assert torch.allclose(product.add(x, more.clone()).double(), expected + more, atol=1e-4)
    assert torch.equal(product(x)[1:2], product(x[1:2]))
    joined = Int8Product(layer, torch.nn.Linear(16, 3)).parts(x)
    assert torch.equal(joined[0], product(x)) and joined[1].shape == (5, 3)


@pytest.mark.parametrize("size", [1, 2, 33, 1024])
def test_an_int8_product_of_the_largest_numbers_is_exact(size):
    layer = torch.nn.Linear(size, 40, bias=False).requires_grad_(False)
    signs = torch.randint(0, 2, (43, size), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    signs[:2], signs[40:42] = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [-1.0]])
    # The largest number on a side of either matrix: sums of two such products are the first to leave 16 bits.
    layer.weight.copy_(signs[:40] * 127.0)
    x = signs[40:] * 64.0
    # Less than 2**24 in size, so that float32 holds it too.
    assert torch.equal(Int8Product(layer)(x), (x.double() @ layer.weight.double().T).float())


def test_int8_rollouts_are_near_the_students_and_the_same_in_any_company(learner):
    moved(learner, 0.2)
    prompts, options = [[5, 6, 7], [8, 9], [70, 71, 72, 73]], {"max_new_tokens": 12, "samples": 3}
    found = Sampler(learner, Sampling(**options), seed=1, int8=True).sample(prompts, [1, 2, 3])
    alone = Sampler(learner, Sampling(**options, slots=2), seed=1, int8=True).sample(prompts, [1, 2, 3])
    assert torch.equal(alone.tokens, found.tokens) and torch.allclose(alone.log_probs, found.log_probs, atol=1e-2)
    rows = pad_rows([prompt for prompt in prompts for _ in range(3)], found.tokens, found.lengths, pad=0)
    batch = Batch(
        {**rows, "id": torch.arange(9), "temperature": torch.ones(9), "log_probs": torch.zeros(rows["input_ids"].shape)}
    )
    within = torch.arange(found.tokens.shape[1]) < found.lengths[:, None]
    fresh = score_tokens(learner, batch)[rows["completion_mask"]]
    assert 1e-4 < float((found.log_probs[within] - fresh).abs().mean()) < 0.1


def test_models_that_cannot_be_rounded_are_refused(learner):
    with pytest.raises(ConfigError, match=r"engine is int8, which needs .* has another shape than Llama"):
        Writer(hub_learner("GPT2"), SAMPLING, engine=EngineConfig(kind="int8"))
    with pytest.raises(ConfigError, match="has weights in bfloat16"):
        Writer(copy.deepcopy(learner).bfloat16(), SAMPLING, engine=EngineConfig(kind="int8"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "vllm"}, "engine is 'vllm', but must be own, int8 or server:URL"),
        ({"behind": 2}, "behind is 2"),
        ({"kind": "server:http://a/v1", "behind": 1}, "would keep its first weights"),
        ({"kind": "server:http://a/v1", "reload": "vllm"}, "serve that, and give it as folder=FOLDER"),
        ({"reload": "sglang"}, "are a server's"),
        ({"correction": "none"}, "correction is 'none'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        EngineConfig(**options)


def test_int8_rollouts_get_the_students_log_probabilities_and_a_weight(learner):
    moved(learner, 0.3)
    writer = Writer(learner, SAMPLING, seed=1, engine=EngineConfig(kind="int8", correction="token_truncate", cap=1.001))
    batch = writer.write(QUESTIONS[:3]).batch
    exact = Sampler(learner, SAMPLING, seed=1, int8=True).sample(
        [learner.tokenizer.prompt(question) for question in QUESTIONS[:3]], [100, 101, 102]
    )
    mask = batch["completion_mask"]
    with torch.no_grad():
        fresh = learner(batch).logits.log_softmax(-1)[:, :-1].gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    assert torch.allclose(batch["log_probs"][mask], fresh[mask[:, 1:]], atol=1e-5)
    sampled = torch.cat([row[:n] for row, n in zip(exact.log_probs, exact.lengths, strict=True)])
    expected = (fresh[mask[:, 1:]] - sampled).exp().clamp(max=1.001)
    assert torch.allclose(batch["importance"][mask], expected, atol=1e-5) and (expected != 1).any()
    assert (batch["importance"][~mask] == 0).all() and float(batch["mismatch"].max()) > 0


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_grpo_weighs_tokens_by_their_importance(learner, ratio):
    method = GRPO(Config(ratio=ratio, clip_low=0.05, clip_high=0.05), learner)
    writer = Writer(learner, SAMPLING, FunctionVerifier(reward), seed=1, engine=EngineConfig(kind="int8"))
    batch = method.collect(QUESTIONS[:3], writer)
    batch = Batch({**batch, "importance": torch.rand(batch["importance"].shape) * batch["completion_mask"]})
    moved(learner, 0.2).requires_grad_(False)
    found = method.loss(batch)
    tokens = policy_outputs(learner(batch), batch)
    total, mask = 0.0, batch["completion_mask"]
    place = 0
    for b in range(batch.size):
        count = int(mask[b].sum())
        logs = tokens.log_probs[place : place + count] - tokens.old_log_probs[place : place + count]
        place += count
        logs = logs.mean().expand(count) if ratio == "sequence" else logs
        advantage = float(batch["advantage"][b])
        for log, weight in zip(logs.exp().tolist(), batch["importance"][b][mask[b]].tolist(), strict=True):
            total -= weight * min(log * advantage, min(max(log, 0.95), 1.05) * advantage)
    assert float(found["policy"].mean()) == pytest.approx(total / int(mask.sum()), rel=1e-4)
    assert float(found["mismatch"].mean()) == pytest.approx(float(batch["mismatch"].mean()), rel=1e-4)


def test_a_copy_shares_what_is_frozen_and_follows_the_rest(learner):
    frozen = learner.module.model.embed_tokens.weight.requires_grad_(False)
    engine = LocalEngine(learner, EngineConfig(behind=1))
    engine.load(0)
    kept, own = engine.model.module.model, learner.module.model
    assert kept.embed_tokens.weight is frozen and kept.norm.weight is not own.norm.weight
    before = own.norm.weight.clone()
    moved(learner)
    engine.load(0)
    assert torch.equal(kept.norm.weight, before)
    engine.load(1)
    assert torch.equal(kept.norm.weight, own.norm.weight) and not torch.equal(before, own.norm.weight)


def stream(learner, kind="own", **options):
    writer = Writer(
        learner, SAMPLING, FunctionVerifier(reward), seed=1, engine=EngineConfig(kind=kind, behind=1, **options)
    )
    return rollout_rounds(
        QUESTIONS,
        writer,
        lambda asked, actor: actor.write(asked).batch,
        batch_size=4,
        feed=RolloutFeed(minibatches=2),
        seed=0,
    )


def trained(source, learner, steps, first=0):
    """Batches, with weights that move after each, as training moves them."""
    found = []
    for step, batch in zip(range(first, first + steps), source, strict=False):
        found.append(batch)
        moved(learner, 0.02 * (step + 1))
    source.state_dict()  # waits for the next round
    return found


@pytest.mark.parametrize("kind", ["own", "int8"])
def test_rollouts_are_one_version_behind(learner, kind):
    before = copy.deepcopy(learner)
    batches = trained(stream(learner, kind), learner, 4)
    assert [batch["version"].unique().tolist() for batch in batches] == [[0], [0], [0], [0]]
    writer = Writer(before, SAMPLING, FunctionVerifier(reward), seed=1, engine=EngineConfig(kind="int8"))
    writer = writer if kind == "int8" else Writer(before, SAMPLING, FunctionVerifier(reward), seed=1)
    writer.round = 1
    asked = [one for one in QUESTIONS if one.id in batches[2]["id"].tolist() + batches[3]["id"].tolist()]
    for row in writer.write(asked).batch.split(1):
        wanted = row["input_ids"][0][row["completion_mask"][0]].tolist()
        behind = [one for batch in batches[2:] for one in batch.split(1) if torch.equal(one["id"], row["id"])]
        assert wanted in [one["input_ids"][0][one["completion_mask"][0]].tolist() for one in behind]
    assert float(batches[2]["mismatch"].min()) > 0.001 and float(batches[0]["mismatch"].max()) < (
        1e-4 if kind == "own" else 0.2
    )


@pytest.mark.parametrize("kind", ["own", "server"])
def test_a_resumed_stream_gives_the_same_rollouts_though_their_weights_are_gone(learner, kind):
    def begun(student, address):
        options = {"reload": "sglang"} if kind == "server" else {}
        return stream(student, address if kind == "server" else kind, **options)

    with serving(copy.deepcopy(learner)) as (_, address):
        whole, student = copy.deepcopy(learner), learner
        expected = trained(begun(whole, address), whole, 7)
        # At the end of a round and within one; a server takes seconds.
        for stop in (1, 2, 4, 5) if kind == "own" else (2, 5):
            student = copy.deepcopy(learner)
            first = begun(student, address)
            trained(first, student, stop)
            state = first.state_dict()
            moved(first.actor.engine.model if kind == "own" else copy.deepcopy(student), 1.0)
            again = begun(student, address)
            again.load_state_dict(state)
            for found, wanted in zip(trained(again, student, 7 - stop, first=stop), expected[stop:], strict=True):
                assert set(found) == set(wanted)
                assert all(torch.equal(found[name], wanted[name]) for name in wanted)


RUN = {
    "method": "grpo",
    "student": "decoder:1x32:64",
    "verifier": "characters:4:4",
    "sampling": "max_new_tokens=3,samples=4",
    "batch_size": 16,
    "steps": 6,
    "lr": 1e-3,
    "progress": False,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    found = tmp_path_factory.mktemp("data") / "questions.jsonl"
    found.write_text("".join(json.dumps({"prompt": f"{i}?"}) + "\n" for i in range(40)))
    return found


@pytest.mark.parametrize("engine", ["int8", "own,behind=1"])
def test_a_run_with_an_engine_is_resumed_to_the_bit(engine, path, tmp_path, monkeypatch):
    monkeypatch.setattr(RunDirectory, "prune", lambda _: None)
    settings = {**RUN, "data": path, "engine": engine, "checkpoint_every": 3, "evaluate_every": 100}
    whole = didact.run(**settings, directory=tmp_path / "run")
    exact = didact.run(**{**settings, "engine": "own"}, directory=tmp_path / "exact")
    shutil.rmtree(max((tmp_path / "run" / "checkpoints").glob("step-*")))
    shutil.rmtree(tmp_path / "run" / "student")
    (tmp_path / "run" / "result.json").unlink()
    again = didact.resume(tmp_path / "run", progress=False)
    weights = [torch.cat([p.detach().flatten() for p in one.learner.parameters()]) for one in (whole, again, exact)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert again.cost.sampled_tokens == whole.cost.sampled_tokens


@pytest.mark.parametrize(
    ("method", "engine", "words"),
    [
        ("sft", "int8", "the method 'sft' samples nothing"),
        ("nft", "int8", "the method 'nft' does not correct for that; leave out engine, or use gkd or grpo"),
        ("grpo", "int4", "engine is 'int4', but must be own"),
        ("grpo", "server:http://127.0.0.1:9", "the method 'grpo' learns from rewards"),
        ("grpo", "own,behnd=1", "engine has no 'behnd'"),
    ],
)
def test_engines_that_a_method_cannot_use_are_refused(method, engine, words, path):
    with pytest.raises(ConfigError, match=words):
        didact.run(**{**RUN, "method": method}, data=path, engine=engine)
