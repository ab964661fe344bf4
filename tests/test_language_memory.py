"""What language models take of memory and disk: dtypes, frozen weights, adapters."""

import json

import pytest
import torch
from safetensors.torch import load_file

import didact
from conftest import few
from didact.errors import ConfigError, MissingExtraError
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.loop import RunDirectory
from didact.parts.models import build_causal
from didact.teachers import snapshot
from didact.types import Batch
from tiny_language import save_model

RECORDS = [
    {"prompt": f"{a}+{b}=", "chosen": str(a + b), "rejected": str(a + b + 1)} for a in range(8) for b in range(8)
]
QUICK = {
    "data": RECORDS,
    "batch_size": 8,
    "steps": 2,
    "lr": 1e-3,
    "progress": False,
    "sampling": "max_new_tokens=3,samples=2",
}
IDS = torch.tensor([[1, 20, 30, 40, 50, 60]])
BATCH = Batch({"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "id": torch.arange(1)})


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "llama"
    save_model(path)
    return path


def weights_of(module):
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


# ---- dtypes


@pytest.mark.parametrize(
    ("stored", "wanted", "found"),
    [
        (torch.bfloat16, "auto", torch.bfloat16),
        (torch.bfloat16, "float32", torch.float32),
        (torch.float32, "bfloat16", torch.bfloat16),
        (torch.float16, "auto", torch.float32),
    ],
)
def test_models_keep_their_dtype_unless_told_but_for_float16(tmp_path, stored, wanted, found):
    save_model(tmp_path, dtype=stored)
    run = prepare(*split_arguments(method="gkd", student=str(tmp_path), teacher=str(tmp_path), dtype=wanted, **QUICK))
    assert {p.dtype for p in run.student.model.parameters()} == {found}
    assert {p.dtype for p in run.teacher.learner.parameters()} == {found}
    source = load_file(tmp_path / "model.safetensors")["lm_head.weight"]
    assert torch.equal(run.student.model.head.weight, source.to(found))


def test_no_model_is_trained_in_float16(llama):
    with pytest.raises(ConfigError, match="dtype is 'float16'"):
        didact.run(method="sft", student=str(llama), dtype="float16", **QUICK)


@pytest.mark.parametrize("student", ["", "lora:2:"])
def test_a_run_in_bfloat16_is_resumed_to_the_bit(llama, tmp_path, monkeypatch, student):
    monkeypatch.setattr(RunDirectory, "prune", lambda _: None)
    path, run = tmp_path / "pairs.jsonl", tmp_path / "run"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    settings = {**QUICK, "data": path, "steps": 4, "checkpoint_every": 2, "micro_batch": 4, "dtype": "bfloat16"}
    whole = didact.run(method="dpo", student=f"{student}hf:{llama}", directory=run, **settings)
    kept = weights_of(whole.learner)
    trained = {p.dtype for p in whole.learner.parameters() if p.requires_grad}
    assert trained == {torch.float32 if student else torch.bfloat16}
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    copies = [name for name in load_file(newest / "tensors.safetensors") if name.startswith("/stepper/masters/")]
    assert len(copies) == (0 if student else len(kept))
    for name in ("state.json", "checksums.json"):
        (newest / name).unlink()
    (run / "result.json").unlink()
    again = didact.resume(run, progress=False)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights_of(again.learner).items())


# ---- frozen weights


def test_a_reference_shares_what_is_frozen_and_copies_what_is_trained(llama):
    learner = build_causal(f"lora:2:hf:{llama}")
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            parameter.add_(0.3 if ".lora_B" in name else 0.0)
    reference = snapshot(learner).learner
    before = learner.eval()(BATCH).logits.detach()
    theirs = dict(reference.named_parameters())
    for name, parameter in learner.named_parameters():
        assert (theirs[name] is parameter) is not parameter.requires_grad, name
    with torch.no_grad():
        for parameter in learner.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
        assert (learner(BATCH).logits - before).abs().max() > 0.01
        assert torch.equal(reference(BATCH).logits, before)
    assert any(parameter.requires_grad for parameter in learner.parameters())


@pytest.mark.parametrize("method", few(["dpo", "kto", "grpo", "curry_dpo", "seeded_iterated"], 2))
def test_methods_with_a_second_model_have_one_base(llama, tmp_path, method):
    texts = [[{"text": r["chosen"], "rating": 2}, {"text": r["rejected"], "rating": 1}] for r in RECORDS]
    rated = [{"prompt": r["prompt"], "rated": both} for r, both in zip(RECORDS, texts, strict=True)]
    sampled = {"verifier": "characters:4:4", "monitors": ("dead_groups=off",)}
    more = {
        "grpo": sampled | {"kl": 0.1},
        "seeded_iterated": sampled | {"imitation": 1, "interaction": 1},
        "curry_dpo": {"data": rated},
    }
    settings = {**QUICK, **more.get(method, {}), "student": f"lora:2:hf:{llama}", "checkpoint_every": 1}
    whole = didact.run(method=method, directory=tmp_path / "run", **settings)
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    kept = load_file(checkpoint / "tensors.safetensors")
    assert any("lora_" in name for name in kept)
    assert not [name for name in kept if "base_layer" in name or "embed" in name]
    if method in ("dpo", "kto", "grpo"):
        # The adapters and two moments of each weight.
        adapters = sum(p.nbytes for p in whole.learner.parameters() if p.requires_grad)
        learned = sum(t.nbytes for name, t in kept.items() if "lora_" in name or "exp_avg" in name)
        assert learned == 3 * adapters
    source = load_file(llama / "model.safetensors")
    frozen = {n.replace(".base_layer", "").removeprefix("module."): p for n, p in whole.learner.named_parameters()}
    assert all(torch.equal(frozen[name], tensor) for name, tensor in source.items())


def test_a_teacher_with_adapters_is_warmed_up_by_them_alone(llama):
    teacher = f"warm:3:lora:2:hf:{llama}"
    run = prepare(*split_arguments(method="gkd", student=str(llama), teacher=teacher, on_policy=0.0, **QUICK))
    source = load_file(llama / "model.safetensors")
    learned = run.teacher.learner
    for name, parameter in learned.named_parameters():
        plain = name.replace(".base_layer", "").removeprefix("module.")
        assert not parameter.requires_grad
        assert ".lora_" in name or torch.equal(parameter, source[plain]), name
    assert any(parameter.abs().max() > 0 for name, parameter in learned.named_parameters() if ".lora_B" in name)


# ---- adapters


def test_the_options_of_adapters(llama):
    spec = f"lora:4/alpha=2/dropout=0.25/targets=q_proj,down_proj:hf:{llama}"
    learner = build_causal(spec)
    layers = {name.split(".lora_A")[0] for name, _ in learner.named_parameters() if ".lora_A" in name}
    assert {name.rpartition(".")[2] for name in layers} == {"q_proj", "down_proj"}
    layer = learner.get_submodule(min(layers))
    first, second = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert first.shape[0] == 4
    assert layer.lora_dropout["default"].p == 0.25
    with torch.no_grad():
        second.fill_(1.0)
    x = torch.randn(3, first.shape[1])
    wanted = x @ layer.base_layer.weight.T + 0.5 * (x @ first.T) @ second.T
    torch.testing.assert_close(layer.eval()(x), wanted)
    assert learner.config == spec
    assert build_causal(f"lora:4:hf:{llama}").get_submodule(min(layers)).scaling["default"] == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("8/alpha", "lora is written"),
        ("8/alpha=much", "lora is written"),
        ("8/alpha=0", "alpha of lora is 0"),
        ("8/dropout=1", "dropout of lora is 1"),
        ("8/alhpa=2", "Did you mean alpha?"),
        ("8/targets=nowhere", "targets of lora is nowhere"),
        ("8/bits=3", "bits of lora is '3'"),
    ],
)
def test_options_of_adapters_that_mean_nothing(llama, options, message):
    with pytest.raises(ConfigError, match=message):
        build_causal(f"lora:{options}:hf:{llama}")


def test_quantised_weights_need_their_package(llama, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"bitsandbytes.*didact\[qlora\]"):
        build_causal(f"lora:2/bits=4:hf:{llama}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_weights_are_trained_through(tmp_path, bits):
    pytest.importorskip("bitsandbytes")
    save_model(tmp_path, hidden_size=64, intermediate_size=128, head_dim=16, num_key_value_heads=4)
    plain, learner = build_causal(f"hf:{tmp_path}"), build_causal(f"lora:2/bits={bits}:hf:{tmp_path}")
    base = [p for name, p in learner.named_parameters() if "base_layer" in name]
    assert {p.dtype for p in base} == {torch.uint8 if bits == 4 else torch.int8}
    with torch.no_grad():
        apart = (learner.eval()(BATCH).logits.float() - plain.eval()(BATCH).logits).std()
    assert apart < 0.6 * plain(BATCH).logits.std()
    result = didact.run(method="dpo", student=f"lora:2/bits={bits}:hf:{tmp_path}", **QUICK)
    moved = [p for name, p in result.learner.named_parameters() if ".lora_B" in name]
    assert all(p.dtype == torch.float32 and p.abs().max() > 0 for p in moved)


# ---- activations


def gradients_and_kept(learner, checkpointing):
    """The gradients of a loss in training mode with dropout, and the bytes that are kept for them."""
    if checkpointing:
        learner.checkpoint_gradients()
    kept = {}
    own = {p.untyped_storage().data_ptr() for p in learner.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept.update({storage.data_ptr(): storage.nbytes()} if storage.data_ptr() not in own else {})
        return tensor

    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = learner.train()(Batch({**BATCH, "input_ids": IDS.repeat(8, 1)})).hidden
    hidden.square().mean().backward()
    return {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}, sum(kept.values())


@pytest.mark.parametrize("student", ["decoder:4x32", "hf:{llama}", "lora:2/dropout=0.5:hf:{llama}", "hf:{gpt2}"])
def test_gradient_checkpointing_gives_the_same_gradients_for_less_memory(llama, tmp_path, student):
    save_model(tmp_path, "gpt2", attn_pdrop=0.5)
    spec = student.format(llama=llama, gpt2=tmp_path)
    plain, before = gradients_and_kept(build_causal(spec), checkpointing=False)
    again, after = gradients_and_kept(build_causal(spec), checkpointing=True)
    assert plain and plain.keys() == again.keys()
    assert all(torch.equal(plain[name], gradient) for name, gradient in again.items())
    assert after < 0.4 * before


def test_gradient_checkpointing_is_an_option_of_runs(llama):
    settings = {**QUICK, "method": "dpo", "student": str(llama)}
    plain, again = (didact.run(**settings, gradient_checkpointing=on) for on in (False, True))
    assert again.learner.module.model.checkpointing and not plain.learner.module.model.checkpointing
    kept = weights_of(again.learner)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights_of(plain.learner).items())
