"""Causal language models as learners, against what transformers computes with the same weights."""

import copy
import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertLMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from didact.errors import ConfigError, DataError, MissingExtraError
from didact.learners import (
    ByteTokens,
    CausalLearner,
    Decoder,
    HubTokens,
    check_length,
    describe_causal,
    save_causal,
)
from didact.learners.decoder import DecoderConfig
from didact.parts.models import build_causal
from didact.types import Batch
from tiny_language import ARCHITECTURES, VOCABULARY, save_model, save_tokenizer

IDS = torch.randint(3, 259, (3, 12), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([12, 7, 5])
MASK = (torch.arange(12)[None] < LENGTHS[:, None]).long()
BATCH = Batch({"input_ids": IDS, "attention_mask": MASK, "id": torch.arange(3)})
ROW = torch.cat([IDS[0, :6], IDS[1, :4], IDS[2, :1]])[None]
PACKED = Batch({"input_ids": ROW, "segments": torch.tensor([[1] * 6 + [2] * 4 + [0]]), "id": torch.arange(1)})


def alone(ids):
    return Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids), "id": torch.arange(len(ids))})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_and_packing_of_every_architecture(tmp_path, architecture):
    save_model(tmp_path, architecture)
    learner = build_causal(f"hf:{tmp_path}")
    assert not learner.training
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        wanted = model(input_ids=IDS, attention_mask=MASK).logits
        output = learner(BATCH)
        packed = learner(PACKED).hidden
        first, second = learner(alone(IDS[:1, :6])).hidden, learner(alone(IDS[1:2, :4])).hidden
    assert wanted.abs().max() > 0.5
    real = MASK.bool()
    torch.testing.assert_close(output.logits[real], wanted[real], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed[:, :6], first, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed[:, 6:10], second, atol=1e-4, rtol=1e-4)
    assert packed.isfinite().all()
    assert learner.context == 64


def test_the_head_says_what_the_model_does(tmp_path):
    found = {}
    for architecture in ("gemma2", "cohere", "granite", "phi", "llama"):
        save_model(tmp_path / architecture, architecture)
        found[architecture] = build_causal(f"hf:{tmp_path / architecture}").head
    assert [h.softcap for h in found.values()] == [3.0, None, None, None, None]
    assert [h.scale for h in found.values()] == [1.0, 0.25, 0.2, 1.0, 1.0]
    assert [h.bias is None for h in found.values()] == [True, True, True, False, True]
    assert {h.vocabulary for h in found.values()} == {VOCABULARY}


def test_gradients_reach_the_head_and_the_body(tmp_path):
    save_model(tmp_path)
    learner = build_causal(f"hf:{tmp_path}")
    output = learner(BATCH)
    output.logits[MASK.bool()].square().mean().backward()
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    model(input_ids=IDS, attention_mask=MASK).logits[MASK.bool()].square().mean().backward()
    for ours, wanted in zip(learner.module.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, wanted.grad, atol=1e-5, rtol=1e-4)


def test_a_decoder_by_its_spec():
    state = torch.get_rng_state()
    learner = build_causal("decoder:2x32:48", seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(learner.module, Decoder) and isinstance(learner.tokenizer, ByteTokens)
    assert (learner.context, learner.config, learner.training) == (48, "decoder:2x32:48", True)
    again, other = build_causal("decoder:2x32:48", seed=3), build_causal("decoder:2x32:48", seed=4)
    assert torch.equal(learner(BATCH).hidden, again(BATCH).hidden)
    assert not torch.equal(learner(BATCH).hidden, other(BATCH).hidden)
    assert build_causal("decoder:1x32", dtype=torch.bfloat16)(BATCH).hidden.dtype == torch.bfloat16
    assert build_causal("decoder:1x32").context == 512


def test_a_saved_decoder_is_a_llama_for_transformers_and_a_decoder_for_us(tmp_path):
    learner = build_causal("decoder:2x32", seed=3)
    assert save_causal(learner, tmp_path / "new" / "model") == tmp_path / "new" / "model"
    save_causal(learner, tmp_path / "new" / "model")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["model"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "new" / "model")
    torch.testing.assert_close(model(input_ids=IDS).logits, learner(BATCH).logits, atol=1e-6, rtol=1e-5)
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (1, 2, 0)
    again = build_causal(f"hf:{tmp_path / 'new' / 'model'}")
    assert isinstance(again.module, Decoder) and isinstance(again.tokenizer, ByteTokens)
    assert torch.equal(again(BATCH).hidden, learner(BATCH).hidden)


def test_a_decoder_with_another_tokenizer_is_saved_with_it(tmp_path):
    save_tokenizer(tmp_path / "tokens")
    shape = DecoderConfig.small(1, 32, vocabulary=VOCABULARY)
    learner = CausalLearner(Decoder(shape), HubTokens(str(tmp_path / "tokens")))
    save_causal(learner, tmp_path / "model")
    again = build_causal(f"hf:{tmp_path / 'model'}")
    assert isinstance(again.module, Decoder) and isinstance(again.tokenizer, HubTokens)
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("hi")["input_ids"] == [1, *again.tokenizer.encode("hi")]


@pytest.mark.parametrize("architecture", ["llama-tied", "gpt2"])
def test_a_taught_model_is_saved_and_loaded(tmp_path, architecture):
    save_model(tmp_path / "a", architecture)
    learner = build_causal(f"hf:{tmp_path / 'a'}")
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.mul_(1.1)
    save_causal(learner, tmp_path / "b")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=IDS).logits, learner(BATCH).logits, atol=1e-4, rtol=1e-4)
        again = build_causal(f"hf:{tmp_path / 'b'}")
        assert torch.equal(again(BATCH).hidden, learner(BATCH).hidden)
    assert not (tmp_path / "b" / "didact.json").exists()


def test_bytes_for_a_model_of_transformers(tmp_path):
    model = save_model(tmp_path / "a", tokenizer=False)
    learner = CausalLearner(model, ByteTokens())
    save_causal(learner, tmp_path / "b")
    assert json.loads((tmp_path / "b" / "didact.json").read_text()) == {"tokenizer": "bytes"}
    again = build_causal(f"hf:{tmp_path / 'b'}")
    assert isinstance(again.tokenizer, ByteTokens)
    assert torch.equal(again(BATCH).hidden, learner(BATCH).hidden)
    with pytest.raises(ConfigError, match="tokenizer of"):
        build_causal(f"hf:{tmp_path / 'a'}")


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_adapters_alone_are_trained_and_merged_when_saved(tmp_path, architecture):
    base = save_model(tmp_path / "a", architecture)
    spec = f"lora:3:hf:{tmp_path / 'a'}"
    learner = build_causal(spec, seed=1)
    torch.testing.assert_close(learner(BATCH).logits, base(input_ids=IDS).logits, atol=1e-4, rtol=1e-4)
    trained = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    assert trained and all(".lora_" in name for name in trained)
    assert all(3 in p.shape for p in trained.values())
    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        learner(BATCH).logits[MASK.bool()].square().mean().backward()
        optimizer.step()
    assert all(p.grad is None for p in learner.parameters() if not p.requires_grad)
    kept = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    save_causal(learner, tmp_path / "b")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in learner.state_dict().items())
    assert not any("lora" in name or "base_layer" in name for name in load_file(tmp_path / "b" / "model.safetensors"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    with torch.no_grad():
        found, wanted = model(input_ids=IDS).logits, learner.eval()(BATCH).logits
        assert (wanted - base(input_ids=IDS).logits).abs().max() > 0.01
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_adapters_come_from_the_seed(tmp_path):
    save_model(tmp_path)
    made = [build_causal(f"lora:2:hf:{tmp_path}", seed=seed).state_dict() for seed in (1, 1, 2)]
    first = next(name for name in made[0] if ".lora_A" in name)
    assert torch.equal(made[0][first], made[1][first])
    assert not torch.equal(made[0][first], made[2][first])


def test_half_precision(tmp_path):
    save_model(tmp_path, dtype=torch.bfloat16)
    assert build_causal(f"hf:{tmp_path}", dtype=torch.float32).head.weight.dtype == torch.float32
    learner = build_causal(f"hf:{tmp_path}")
    with torch.no_grad():
        output = learner(BATCH)
        packed = learner(PACKED).hidden
        wanted = learner(alone(IDS[:1, :6])).hidden
    assert output.hidden.dtype == output.logits.dtype == torch.bfloat16
    torch.testing.assert_close(packed[:, :6], wanted, atol=0.05, rtol=0.05)


def test_a_step_of_a_decoder_never_looks_at_a_value():
    # Tensors on the device "meta" have no values, so that whatever would wait for a GPU's fails on them.
    learner = build_causal("decoder:2x32").to("meta")
    for batch in (BATCH, PACKED):
        output = learner(batch.to("meta"))
        output.logits.square().mean().backward()
        assert output.hidden.shape == (*batch["input_ids"].shape, 32)


def test_taps(tmp_path):
    save_model(tmp_path)
    for learner in (build_causal(f"hf:{tmp_path}"), build_causal("decoder:2x32")):
        assert "lm_head" not in learner.candidates()
        learner.tap("hidden", "model.layers.0", "model.layers.1.mlp", "hidden")
        for batch in (BATCH, PACKED):
            output = learner(batch)
            assert list(output.features) == ["hidden", "model.layers.0", "model.layers.1.mlp"]
            assert output.features["hidden"] is output.hidden
            assert {f.shape for f in output.features.values()} == {(*batch["input_ids"].shape, 32)}
        with pytest.raises(ConfigError, match=r"tap is 'model.layers.9', .*Did you mean model.layers.[01]"):
            learner.tap("model.layers.9")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("decoder:4", "'decoder:4', but decoder is written decoder:LAYERSxWIDTH or"),
        ("decoder:2x48", "width of the decoder is 48"),
        ("decoder:2x32:0", "but decoder is written decoder:LAYERSxWIDTH"),
        ("decodr:2x32", "Did you mean decoder?"),
        ("hf:", "hf is written hf:NAME or hf:DIRECTORY"),
        (
            "lora:8:decoder:2x32",
            "lora is written lora:RANK:STUDENT or lora:RANK/OPTION=VALUE:STUDENT, such as lora:8:hf:",
        ),
        ("lora:hf:x", "no student 'x'"),
    ],
)
def test_specs_that_mean_nothing(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_causal(spec)


def test_a_rank_of_zero(tmp_path):
    save_model(tmp_path)
    with pytest.raises(ConfigError, match="lora is written lora:RANK:STUDENT"):
        build_causal(f"lora:0:hf:{tmp_path}")


def test_other_kinds_of_checkpoint_are_refused(tmp_path):
    small = {"vocab_size": 264, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertConfig(**small, intermediate_size=16, initializer_range=0.5)
    BertForSequenceClassification(bert).save_pretrained(tmp_path / "classifier")
    BertLMHeadModel(bert).save_pretrained(tmp_path / "encoder")
    T5ForConditionalGeneration(
        T5Config(vocab_size=264, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path / "t5")
    save_tokenizer(tmp_path / "encoder")
    save_model(tmp_path / "gpt2", "gpt2")
    save_model(tmp_path / "mixed", "llama")
    shutil.copy(tmp_path / "gpt2" / "model.safetensors", tmp_path / "mixed" / "model.safetensors")
    messages = {
        "classifier": "weights in .* are not those of the BertLMHeadModel",
        "encoder": "no causal language model",
        "t5": "causal language model of .*t5' can't be loaded",
        "mixed": "weights in .*mixed' are not those of the LlamaForCausalLM",
        "nowhere": "causal language model of .* can't be loaded",
    }
    for name, message in messages.items():
        with pytest.raises(ConfigError, match=message):
            build_causal(f"hf:{tmp_path / name}")


def test_a_head_that_is_more_than_linear_is_refused(tmp_path):
    model = save_model(tmp_path)
    forward = type(model).forward

    def odd(*args, **options):
        output = forward(model, *args, **options)
        output.logits = output.logits**3
        return output

    model.forward = odd
    with pytest.raises(ConfigError, match="are not its last layer times the states before it"):
        CausalLearner(model, ByteTokens())


def test_broken_weights_are_refused(tmp_path):
    model = save_model(tmp_path)
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    with pytest.raises(ConfigError, match="or are not finite"):
        CausalLearner(model, ByteTokens())


def test_a_model_that_cannot_keep_sequences_apart_says_so():
    config = MambaConfig(vocab_size=264, hidden_size=16, state_size=4, num_hidden_layers=1, initializer_range=0.5)
    torch.manual_seed(0)
    learner = CausalLearner(MambaForCausalLM(config), ByteTokens())
    assert learner(BATCH).hidden.shape == (3, 12, 16)
    with pytest.raises(ConfigError, match=r"would let them see each other; .*packed=False"):
        learner(PACKED)
    assert learner.training


def test_more_ids_than_scores(tmp_path):
    save_model(tmp_path, vocab_size=250)
    with pytest.raises(ConfigError, match="has 259 ids, but the model scores only 250"):
        build_causal(f"hf:{tmp_path}")
    with pytest.raises(ConfigError, match="has 260 ids, but the model scores only 100"):
        CausalLearner(Decoder(DecoderConfig.small(1, 32, vocabulary=100)), ByteTokens())


def test_lengths_and_sides():
    learner = build_causal("decoder:1x32:10")
    with pytest.raises(DataError, match="rows have 12 tokens, but the context of 'decoder:1x32:10' is 10"):
        learner(BATCH)
    flipped = Batch({"input_ids": IDS[:, :8], "attention_mask": MASK.flip(1)[:, :8], "id": torch.arange(3)})
    with pytest.raises(DataError, match="padded on the left"):
        learner(flipped)
    check_length(learner, 10)
    check_length(learner, 6, new=4)
    with pytest.raises(ConfigError, match=r"The longest prompt has 11 tokens, but the context .* is 10; at most 10"):
        check_length(learner, 11)
    with pytest.raises(ConfigError, match=r"Question 3 has 7 tokens and 4 new ones, .*; at most 6 would work"):
        check_length(learner, 7, new=4, what="Question 3")


def test_a_copy_stands_on_its_own(tmp_path):
    save_model(tmp_path)
    for learner in (build_causal(f"hf:{tmp_path}"), build_causal("decoder:2x32")):
        learner.tap("model.layers.0")
        twin = copy.deepcopy(learner)
        with torch.no_grad():
            before = learner(BATCH)
            for parameter in learner.parameters():
                parameter.mul_(2.0)
            learner(BATCH)
            after = twin(BATCH)
        assert torch.equal(after.logits, learner.head.slice(9000)(before.hidden) / 2.0)
        assert torch.equal(after.features["model.layers.0"], before.features["model.layers.0"])


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    save_model(tmp_path / "a")
    save_causal(build_causal("decoder:1x32"), tmp_path / "b")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"package 'peft'. .*didact\[llm\]"):
        build_causal(f"lora:2:hf:{tmp_path / 'a'}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"package 'transformers'. .*didact\[llm\]"):
        build_causal(f"hf:{tmp_path / 'a'}")
    assert isinstance(build_causal(f"hf:{tmp_path / 'b'}").module, Decoder)


def test_only_a_model_is_replaced(tmp_path):
    learner = build_causal("decoder:1x32")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already and holds no model"):
        save_causal(learner, tmp_path)
    with pytest.raises(ConfigError, match="is there already and holds no model"):
        save_causal(learner, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    learner = build_causal("decoder:1x32")
    save_causal(learner, tmp_path / "model")
    before = {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()}

    def full(*_args, **_options):
        raise OSError("No space left on device")

    monkeypatch.setattr("didact.learners.decoder.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_causal(build_causal("decoder:1x32", seed=1), tmp_path / "model")
    assert {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_broken_note_is_named(tmp_path):
    save_causal(build_causal("decoder:1x32"), tmp_path / "model")
    (tmp_path / "model" / "didact.json").write_text("{")
    with pytest.raises(ConfigError, match=r"didact.json can't be read"):
        build_causal(f"hf:{tmp_path / 'model'}")


def test_description(tmp_path):
    save_model(tmp_path, "gemma2")
    found = describe_causal(build_causal(f"lora:2:hf:{tmp_path}"))
    size, trained = found.pop("parameters"), found.pop("trained")
    assert found.pop("bytes") == 4 * size
    # Two layers of seven linear ones, each with rank times (inputs + outputs); 8 columns a head.
    assert trained == 2 * 2 * ((32 + 32) + 2 * (32 + 16) + (32 + 32) + 3 * (32 + 48))
    assert found == {
        "architecture": "Gemma2ForCausalLM",
        "dtype": "float32",
        "context": 64,
        "tokenizer_vocabulary": 259,
        "head_vocabulary": VOCABULARY,
        "eos": 2,
        "ends": [2],
        "pad": 0,
        "bos": 1,
        "chat_template": False,
        "scale": 1.0,
        "softcap": 3.0,
        "bias": False,
    }
    assert json.loads(json.dumps(found)) == found
    small = describe_causal(build_causal("decoder:1x32"))
    assert small["parameters"] == small["trained"] == 260 * 32 + 4 * 32 * 32 + 3 * 32 * 96 + 3 * 32
