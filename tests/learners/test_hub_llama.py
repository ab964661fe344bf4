"""Llamas of transformers that are computed by our own code, against transformers."""

import copy
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from didact.learners import Decoder, save_causal
from didact.learners.causal import HIDDEN
from didact.learners.hub_llama import HubLlama
from didact.parts.models import build_causal
from didact.rollouts import Sampler, Sampling
from didact.teachers import snapshot
from didact.types import Batch
from tiny_language import save_model

# Padding is among what is read, as where it is also the end of a sequence.
IDS = torch.randint(0, 259, (3, 12), generator=torch.Generator().manual_seed(0)).index_fill(1, torch.tensor([4]), 0)
BATCH = Batch({"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "id": torch.arange(3)})
SHAPES = {
    "groups of queries": {},
    "as many keys": {"num_key_value_heads": 4},
    "one key, tied": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "wavelengths": {"num_key_value_heads": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 321.0}},
    "eps": {"rms_norm_eps": 0.03, "pad_token_id": None},
}
OTHERS = {
    "llama3": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        }
    },
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    "dynamic": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "head_dim": {"head_dim": 16},
    "hidden_act": {"hidden_act": "gelu"},
    "attention_dropout": {"attention_dropout": 0.1},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_and_gradients_are_those_of_transformers(tmp_path, shape):
    save_model(tmp_path, **SHAPES[shape])
    learner, wanted = build_causal(f"hf:{tmp_path}"), AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(learner.module, HubLlama) and not isinstance(learner.module, Decoder) and not learner.training
    found, scores = learner(BATCH).logits, wanted(input_ids=IDS).logits
    assert scores.abs().max() > 0.5
    torch.testing.assert_close(found, scores, atol=1e-5, rtol=1e-5)
    mix = torch.randn(scores.shape[-1], generator=torch.Generator().manual_seed(1))
    for each in (found, scores):
        (each @ mix).square().mean().backward()
    gradients = {name: p.grad for name, p in wanted.named_parameters()}
    assert set(gradients) == {name for name, _ in learner.module.named_parameters()}
    for name, parameter in learner.module.named_parameters():
        assert parameter.requires_grad
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5 * gradients[name].abs().max(), rtol=1e-4)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_computed_otherwise_stays_with_transformers(tmp_path, kind):
    save_model(tmp_path, **OTHERS[kind])
    learner, wanted = build_causal(f"hf:{tmp_path}"), AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(learner.module).__name__ == "LlamaForCausalLM"
    with torch.no_grad():
        torch.testing.assert_close(learner(BATCH).logits, wanted(input_ids=IDS).logits, atol=1e-5, rtol=1e-5)


def test_other_families_and_adapters_stay_with_transformers(tmp_path):
    save_model(tmp_path / "a", "mistral")
    save_model(tmp_path / "b")
    assert not isinstance(build_causal(f"hf:{tmp_path / 'a'}").module, HubLlama)
    assert not isinstance(build_causal(f"lora:2:hf:{tmp_path / 'b'}").module, HubLlama)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_saved_as_it_came(tmp_path, tied, dtype):
    save_model(tmp_path / "a", tie_word_embeddings=tied, dtype=dtype, initializer_range=0.1)
    path = tmp_path / "a" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"made_by": "a friend"}))
    GenerationConfig(eos_token_id=[2, 9], temperature=0.7, do_sample=True).save_pretrained(tmp_path / "a")
    learner = build_causal(f"hf:{tmp_path / 'a'}", dtype=dtype)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.mul_(1.25)
    # The copy that a reference is knows as much.
    for model, name in ((learner, "b"), (snapshot(learner).learner, "c"), (copy.deepcopy(learner), "d")):
        save_causal(model, tmp_path / name)
        files = {p.name for p in (tmp_path / "a").iterdir()}
        assert {p.name for p in (tmp_path / name).iterdir()} == files | {"checksums.json"}
        for file in ("config.json", "generation_config.json"):
            before, after = (json.loads((tmp_path / x / file).read_text()) for x in ("a", name))
            assert before == after, file
        again = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert again.dtype == dtype and again.generation_config.eos_token_id == [2, 9]
        with torch.no_grad():
            close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.05}
            torch.testing.assert_close(again(input_ids=IDS).logits, learner(BATCH).logits, **close)
        assert AutoTokenizer.from_pretrained(tmp_path / name)("hi")["input_ids"] == learner.tokenizer.encode("<s>hi")
    assert torch.equal(build_causal(f"hf:{tmp_path / 'b'}", dtype=dtype)(BATCH).hidden, learner(BATCH).hidden)


def test_weights_go_to_and_from_transformers_by_name(tmp_path):
    model = save_model(tmp_path)
    learner = build_causal(f"hf:{tmp_path}")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    learner.module.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(learner(BATCH).logits, model(input_ids=IDS).logits, atol=1e-5, rtol=1e-5)


def test_sequences_in_one_row_are_as_alone(tmp_path):
    save_model(tmp_path)
    learner = build_causal(f"hf:{tmp_path}")
    row = torch.cat([IDS[0, :6], IDS[1, :4]])[None]
    packed = Batch({"input_ids": row, "segments": torch.tensor([[1] * 6 + [2] * 4]), "id": torch.arange(1)})
    first, second = (
        Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids), "id": torch.arange(1)})
        for ids in (IDS[:1, :6], IDS[1:2, :4])
    )
    with torch.no_grad():
        found = learner(packed).hidden
        torch.testing.assert_close(found[:, :6], learner(first).hidden, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[:, 6:], learner(second).hidden, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", [2, 4])
def test_greedy_completions_are_those_of_generate(tmp_path, heads):
    save_model(tmp_path, num_key_value_heads=heads)
    learner, model = build_causal(f"hf:{tmp_path}"), AutoModelForCausalLM.from_pretrained(tmp_path)
    prompts = IDS[:, 5:].clamp(min=3)
    found = Sampler(learner, Sampling(max_new_tokens=20, temperature=0.0)).sample(prompts.tolist(), range(3))
    wanted = model.generate(
        prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=20, do_sample=False, pad_token_id=0
    )
    for row, length in enumerate(found.lengths.tolist()):
        assert found.tokens[row, :length].tolist() == wanted[row, 7 : 7 + length].tolist()
        assert length == 20 or found.tokens[row, length - 1] == 2


def test_all_that_can_be_tapped_has_an_output(tmp_path):
    save_model(tmp_path)
    learner = build_causal(f"hf:{tmp_path}")
    names = [name for name in learner.candidates() if name not in ("model", "model.layers")]
    assert "model.layers.0.mlp.up_proj" in names and "model.layers.1.self_attn.q_proj" not in names
    learner.tap(*names)
    features = learner(BATCH).features
    assert set(features) == set(names)
    assert torch.equal(features[HIDDEN], features["model.norm"])
