import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from didact.errors import ConfigError, DataError
from didact.learners import ByteTokens
from didact.parts.models import build_causal
from didact.rollouts import Sampler, Sampling, products
from didact.rollouts.cached import CachedBackend
from didact.rollouts.continuous_batch import ContinuousBatch
from didact.rollouts.packed import PackedBackend
from rollouts.models import fresh_log_probs, learner, prompts, tiny

PROMPTS = prompts(1, 3, 9, 5, 5, 14, 2, 9, 4)
IDS = [7, 3, 11, 19, 2, 5, 23, 1, 40]
GREEDY = Sampling(temperature=0.0, max_new_tokens=20)


def rows(found):
    return [tokens[:length] for tokens, length in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)]


def generated(model, asked, count):
    """What transformers writes, with padding on the left."""
    width = max(map(len, asked))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in asked])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in asked])
    with torch.no_grad():
        found = model.generate(ids, attention_mask=mask, max_new_tokens=count, do_sample=False)[:, width:].tolist()
    return [row[: row.index(2) + 1] if 2 in row else row for row in found]


KINDS = [
    ("Llama", {}),
    ("Llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
    ("Mistral", {"sliding_window": None}),
    ("Mistral", {"sliding_window": 6}),
    ("Qwen2", {}),
    ("Qwen3", {"head_dim": 16}),
    ("Gemma2", {"head_dim": 8, "sliding_window": 6}),
    ("GPT2", {}),
    ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.4}),
]


@pytest.fixture(params=["copied", "shared"])
def weights(request, monkeypatch):
    """Both layouts of weights; those of a large model are shared, and go through oneDNN."""
    if request.param == "shared":
        share(monkeypatch)
    return request.param


def share(monkeypatch):
    monkeypatch.setattr(products, "COPIED", 0)
    monkeypatch.setattr(products, "_WORTH_ONEDNN", 0)


# Each kind with either layout of weights, and with slots for some or for all; the other two pairs are slow.
@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize(
    ("layout", "slots"),
    [
        ("shared", 3),
        ("copied", 64),
        pytest.param("copied", 3, marks=pytest.mark.slow),
        pytest.param("shared", 64, marks=pytest.mark.slow),
    ],
)
def test_greedy_completions_are_those_of_generate(monkeypatch, kind, options, layout, slots):
    if layout == "shared":
        share(monkeypatch)
    model = learner(kind, **options)
    found = Sampler(model, dataclasses.replace(GREEDY, slots=slots)).sample(PROMPTS, IDS)
    assert rows(found) == generated(model.module, PROMPTS, 20)
    for prompt, tokens, log_probs in zip(PROMPTS, rows(found), found.log_probs, strict=True):
        wanted = fresh_log_probs(model.module, prompt, tokens)
        assert torch.allclose(log_probs[: len(tokens)], wanted, atol=1e-4)
        assert log_probs[len(tokens) :].eq(0.0).all()


def test_a_completion_ends_with_its_end_of_sequence():
    model = learner("Qwen3", head_dim=16)
    found = Sampler(model, GREEDY).sample(PROMPTS, IDS)
    ended = torch.tensor([row[-1] == 2 for row in rows(found)])
    assert torch.equal(found.finished, ended)
    assert 0 < ended.sum() < len(ended)
    assert (found.lengths[~ended] == 20).all()
    beyond = torch.arange(found.tokens.shape[1]) >= found.lengths[:, None]
    assert (found.tokens[beyond] == 0).all()
    assert (found.read, found.written) == (sum(map(len, PROMPTS)), int(found.lengths.sum()))


SAMPLING = Sampling(temperature=1.3, max_new_tokens=12, samples=3, top_p=0.95)


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_attempts_are_the_same_whatever_they_are_sampled_with(kind):
    model = learner(kind)
    found = Sampler(model, SAMPLING, seed=4).sample(PROMPTS, IDS, visit=2)
    few = Sampler(model, dataclasses.replace(SAMPLING, slots=4), seed=4).sample(PROMPTS, IDS, visit=2)
    assert rows(few) == rows(found)
    assert torch.allclose(few.log_probs, found.log_probs, atol=1e-4)
    alone = Sampler(model, SAMPLING, seed=4).sample(PROMPTS[4:6], IDS[4:6], visit=2)
    assert rows(alone) == rows(found)[12:18]
    for prompt, tokens, log_probs in zip(
        [p for p in PROMPTS for _ in range(3)], rows(found), found.log_probs, strict=True
    ):
        wanted = fresh_log_probs(model.module, prompt, tokens, temperature=1.3)
        assert torch.allclose(log_probs[: len(tokens)], wanted, atol=1e-4)


def test_another_visit_seed_or_sample_is_another_attempt():
    model = learner()
    found = [
        rows(Sampler(model, SAMPLING, seed=seed).sample(PROMPTS[1:3], IDS[1:3], visit=visit))
        for seed, visit in [(0, 0), (0, 1), (1, 0)]
    ]
    assert len({tuple(row) for part in found for row in part}) == 18


def test_first_tokens_come_as_often_as_the_model_says():
    model, prompt = learner(), PROMPTS[2]
    sampling = Sampling(max_new_tokens=1, samples=4000, top_k=8, slots=1500, temperature=2.0)
    tokens = Sampler(model, sampling).sample([prompt], [3]).tokens[:, 0]
    with torch.no_grad():
        probs = (model.module(torch.tensor([prompt])).logits[0, -1] / 2.0).double().softmax(-1)
    best = probs.topk(8)
    found = np.array([(tokens == token).sum() for token in best.indices])
    assert found.sum() == 4000
    assert stats.chisquare(found, (4000 * best.values / best.values.sum()).numpy()).pvalue > 0.001


def test_the_model_is_read_as_it_is_now_and_left_as_it_was():
    model = learner("GPT2", resid_pdrop=0.5, attn_pdrop=0.5)
    model.train()
    model.module.transformer.wte.eval()
    sampler = Sampler(model, GREEDY)
    before = rows(sampler.sample(PROMPTS, IDS))
    assert before == generated(model.module.eval(), PROMPTS, 20)
    model.train()
    model.module.transformer.wte.eval()
    with torch.no_grad():
        model.module.transformer.wpe.weight.mul_(-1.0)
    after = sampler.sample(PROMPTS, IDS)
    assert rows(after) == generated(model.module.eval(), PROMPTS, 20) != before
    assert not after.log_probs.is_inference() and not after.tokens.is_inference()


def test_training_modes_come_back():
    model = learner("GPT2")
    model.train()
    model.module.transformer.h[0].eval()
    modes = [part.training for part in model.modules()]
    Sampler(model, GREEDY).sample(PROMPTS, IDS)
    assert [part.training for part in model.modules()] == modes


def test_adapters_count(weights):
    peft = pytest.importorskip("peft")
    base = learner()
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base.module = peft.inject_adapter_in_model(config, base.module)
    base.module.eval()
    found = Sampler(base, GREEDY).sample(PROMPTS, IDS)
    assert rows(found) != rows(Sampler(learner(), GREEDY).sample(PROMPTS, IDS))
    for prompt, tokens, log_probs in zip(PROMPTS, rows(found), found.log_probs, strict=True):
        wanted = fresh_log_probs(base.module, prompt, tokens)
        assert torch.allclose(log_probs[: len(tokens)], wanted, atol=1e-4)


def drawn_decoder(scale, dtype=torch.float32):
    model = build_causal("decoder:2x64:48", dtype=dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale if parameter.ndim == 2 else 1.3)
    return model


def own_log_probs(model, found):
    """What the learner's own forward says of completions of `PROMPTS`, one after another."""
    each = len(found.lengths) // len(PROMPTS)
    parts = []
    for place, tokens in enumerate(rows(found)):
        prompt = PROMPTS[place // each]
        with torch.no_grad():
            scores = model.head(model.module(torch.tensor([[*prompt, *tokens]])))[0, len(prompt) - 1 : -1]
        parts.append(scores.float().log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0])
    return torch.cat(parts)


def flat_log_probs(found):
    return found.log_probs[torch.arange(found.tokens.shape[1]) < found.lengths[:, None]]


@pytest.mark.parametrize("adapters", [False, True])
def test_a_large_model_is_sampled_from_without_a_copy(monkeypatch, adapters):
    monkeypatch.setattr(products, "COPIED", 0)
    model = learner()
    if adapters:
        peft = pytest.importorskip("peft")
        model.module = peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["q_proj"]), model.module)
    own = {id(part) for part in model.modules()}
    packed = products.pack(model.module, model.head, 40)
    blocks = [[block.qkv, block.out, block.gate_up, block.down] for block in packed.blocks]
    assert all(id(layer) in own for layer in [layer for block in blocks for part in block for layer in part.layers])
    assert packed.scores.layers[0].weight is model.head.weight
    assert packed.embedding is model.module.model.embed_tokens.weight


def test_the_decoder_agrees_with_its_own_forward(weights):
    model = drawn_decoder(2.5)
    found = Sampler(model, Sampling(max_new_tokens=30, samples=2, slots=5)).sample(PROMPTS, IDS)
    assert found.log_probs.min() < -7.5
    assert torch.allclose(flat_log_probs(found), own_log_probs(model, found), atol=1e-4)


def test_half_precision_is_as_exact_as_a_forward_pass():
    model = drawn_decoder(2.0, torch.bfloat16)
    found = Sampler(model, Sampling(max_new_tokens=30, samples=2, slots=5)).sample(PROMPTS, IDS)
    own, exact = own_log_probs(model, found), own_log_probs(copy.deepcopy(model).float(), found)
    assert found.log_probs.dtype == torch.float32
    assert (flat_log_probs(found) - exact).abs().mean() < 1.5 * (own - exact).abs().mean() < 0.1


@pytest.mark.parametrize("backend", [PackedBackend, CachedBackend])
def test_a_prompt_is_read_once(backend, monkeypatch):
    read = []
    prefill = backend.prefill
    monkeypatch.setattr(backend, "prefill", lambda self, given: (read.extend(given), prefill(self, given))[1])
    model = learner("Llama" if backend is PackedBackend else "GPT2")
    Sampler(model, dataclasses.replace(SAMPLING, slots=2)).sample(PROMPTS, IDS)
    assert read == [prompt[:-1] for prompt in PROMPTS]


@pytest.mark.parametrize("kind", ["Qwen3", "GPT2"])
def test_looking_seldom_changes_nothing(kind, monkeypatch):
    model = learner(kind, **({"head_dim": 16} if kind == "Qwen3" else {}))
    stop = (model.tokenizer.decode(rows(Sampler(model, GREEDY).sample(PROMPTS, IDS))[2][3:5]),)
    sampler = Sampler(model, dataclasses.replace(SAMPLING, slots=4, stop=stop, temperature=0.8), seed=1)
    often = sampler.sample(PROMPTS, IDS)
    monkeypatch.setattr(ContinuousBatch, "_is_due", lambda self: len(self.recent) >= 5)
    seldom = sampler.sample(PROMPTS, IDS)
    assert rows(seldom) == rows(often)
    assert torch.equal(seldom.finished, often.finished)
    assert often.finished.any()
    assert torch.allclose(seldom.log_probs, often.log_probs, atol=1e-4)


def test_a_completion_ends_where_the_context_does():
    model = build_causal("decoder:1x32:16")
    found = Sampler(model, Sampling(max_new_tokens=64, samples=2, slots=3)).sample(
        [[5] * 15, [6] * 3, [7] * 10], [1, 2, 3]
    )
    room = torch.tensor([1, 1, 13, 13, 6, 6])
    assert (found.lengths <= room).all()
    assert torch.equal(found.finished, torch.tensor([row[-1] == 2 for row in rows(found)]))
    assert (found.lengths[~found.finished] == room[~found.finished]).all()


def test_stop_strings_end_a_completion():
    model = learner()
    free = rows(Sampler(model, GREEDY).sample(PROMPTS, IDS))
    decode = model.tokenizer.decode
    stop = (decode(free[2][5:8]), decode(free[5][11:12]))
    found = Sampler(model, dataclasses.replace(GREEDY, stop=stop, slots=4)).sample(PROMPTS, IDS)
    wanted = []
    for row in free:
        ends = [n for n in range(1, len(row) + 1) if any(text in decode(row[:n]) for text in stop)]
        wanted.append(row[: ends[0]] if ends else row)
    assert rows(found) == wanted
    assert wanted != free
    assert found.finished.tolist() == [row[-1] == 2 or any(text in decode(row) for text in stop) for row in wanted]
    assert found.texts == tuple(map(decode, wanted))


class Named(ByteTokens):
    """Has several ends, of which one has a name in texts, and another token with a name."""

    def __init__(self, ends, name):
        self.ends, self.name = frozenset({2, *ends}), name

    def decode(self, ids, *, special=False):
        return "".join(f"<{i}>" if special and i == self.name else chr(i) for i in ids if special or i != self.name)


def test_a_completion_ends_at_the_first_of_all_ends_and_says_what_is_before():
    model = learner()
    free = rows(Sampler(model, GREEDY).sample(PROMPTS, IDS))
    model.tokenizer = Named([free[2][5], free[5][11]], free[2][5])
    found = Sampler(model, dataclasses.replace(GREEDY, slots=4)).sample(PROMPTS, IDS)
    ends = [next((n for n, i in enumerate(row) if i in model.tokenizer.ends), None) for row in free]
    assert rows(found) == [row if end is None else row[: end + 1] for row, end in zip(free, ends, strict=True)]
    assert found.finished.tolist() == [end is not None for end in ends]
    assert 1 < sum(found.finished.tolist()) < len(free)
    said = [row if end is None else row[:end] for row, end in zip(free, ends, strict=True)]
    assert found.texts == tuple(model.tokenizer.decode(row) for row in said)


def test_stop_strings_may_be_special_tokens_which_the_text_leaves_out():
    model = learner()
    free = rows(Sampler(model, GREEDY).sample(PROMPTS, IDS))
    named = free[2][5]
    model.tokenizer = Named([], named)
    found = Sampler(model, dataclasses.replace(GREEDY, stop=(f"<{named}>",))).sample(PROMPTS, IDS)
    wanted = [row[: row.index(named) + 1] if named in row else row for row in free]
    assert rows(found) == wanted
    assert wanted != free
    assert found.texts == tuple("".join(chr(i) for i in row if i not in (2, named)) for row in wanted)


@pytest.mark.parametrize(
    ("asked", "ids", "error", "words"),
    [
        ([], [], DataError, "no prompts"),
        ([[5], []], [1, 2], DataError, r"Prompt 1 \(id 2\) is empty"),
        ([[5]], [1, 2], DataError, "1 prompts but 2 ids"),
        ([[5, 300]], [1], DataError, "ids from 5 to 300"),
        ([[5], [6] * 96], [1, 2], ConfigError, "has 96 tokens and 1 new ones, but the context of 'Llama' is 96"),
    ],
)
def test_what_can_not_be_sampled_is_refused(asked, ids, error, words):
    with pytest.raises(error, match=words):
        Sampler(learner(), GREEDY).sample(asked, ids)


def test_a_model_without_keys_and_values_is_refused():
    model = learner()
    model.module = tiny()
    model.module._is_stateful = True
    model.module.config.hidden_act = "gelu"
    with pytest.raises(ConfigError, match="keeps no keys and values"):
        Sampler(model, GREEDY).sample(PROMPTS, IDS)
