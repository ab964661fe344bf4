"""Models from files of GGUF, against those that the files were made of."""

import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

import didact
from didact.errors import ConfigError, MissingExtraError
from didact.learners import save_causal
from didact.learners.hub_llama import HubLlama
from didact.parts.models import build_causal
from didact.types import Batch, Question
from tiny_language import ENDS, GEMMA, save_gguf

IDS = torch.randint(3, 259, (2, 9), generator=torch.Generator().manual_seed(0))
BATCH = Batch({"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "id": torch.arange(2)})


def test_a_model_is_that_which_the_file_was_made_of(tmp_path):
    model = save_gguf(tmp_path / "tiny.gguf", template=GEMMA, added=ENDS)
    learner = build_causal(f"gguf:{tmp_path / 'tiny.gguf'}")
    assert isinstance(learner.module, HubLlama)
    with torch.no_grad():
        wanted = model(input_ids=IDS).logits
        torch.testing.assert_close(learner(BATCH).logits, wanted, atol=1e-5, rtol=1e-5)
    assert (learner.context, learner.config) == (64, f"gguf:{tmp_path / 'tiny.gguf'}")
    asked = Question(id=1, prompt="", messages=({"role": "user", "content": "hi"},), completion="yo")
    tokens = learner.tokenizer
    prompt, answer = tokens.prompt(asked), tokens.completion(asked)
    assert tokens.decode(prompt, special=True) == "<s><|user|>hi<|end|>\n<|assistant|>"
    assert tokens.decode(answer, special=True) == "yo<|end|>"
    assert tokens.encode("hi") == [259]
    assert tokens.ends == {2, answer[-1]}
    assert build_causal(str(tmp_path / "tiny.gguf")).config == learner.config


def test_quantised_weights_are_made_whole_taught_and_saved(tmp_path):
    model = save_gguf(tmp_path / "tiny.gguf", quantised=True)
    learner = build_causal(f"gguf:{tmp_path / 'tiny.gguf'}")
    with torch.no_grad():
        wanted, found = model(input_ids=IDS).logits, learner(BATCH).logits
    # Q8_0 rounds each weight to a 127th of the largest of its 32.
    assert 1e-4 < (found - wanted).abs().max() < 0.05 * wanted.abs().max()
    assert {p.dtype for p in learner.parameters()} == {torch.float32}
    assert build_causal(f"gguf:{tmp_path / 'tiny.gguf'}", dtype=torch.bfloat16).head.weight.dtype == torch.bfloat16
    save_causal(learner, tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=IDS).logits, found, atol=1e-5, rtol=1e-5)
    data = [{"prompt": f"{i}", "completion": f"{i}"} for i in range(30)]
    result = didact.run(method="sft", data=data, student=f"lora:2:gguf:{tmp_path / 'tiny.gguf'}", steps=2,
                        batch_size=4, sampling="max_new_tokens=2", progress=False)  # fmt: skip
    assert result.metrics["nll"] > 0
    teacher = f"gguf:{tmp_path / 'tiny.gguf'}"
    taught = didact.run(method="gkd", data=data, student=str(tmp_path / "saved"), teacher=teacher, steps=1,
                        batch_size=4, sampling="max_new_tokens=2", progress=False)  # fmt: skip
    assert taught.metrics["teacher_kl"] < 0.01


def test_files_that_are_no_model_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"student is 'gguf:nowhere.gguf', but there is no file of that name"):
        build_causal("gguf:nowhere.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 40)
    with pytest.raises(ConfigError, match="is no readable GGUF file"):
        build_causal(f"gguf:{tmp_path / 'broken.gguf'}")
    save_gguf(tmp_path / "deep.gguf", layers=10_000)
    with pytest.raises(ConfigError, match=r"gives llama.block_count as 10000, but holds \d+ tensors"):
        build_causal(f"gguf:{tmp_path / 'deep.gguf'}")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"package 'gguf'. .*didact\[gguf\]"):
        build_causal(f"gguf:{tmp_path / 'broken.gguf'}")
