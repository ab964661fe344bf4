"""A step of GRPO and a step of on-policy distillation next to TRL's trainers, and to the bare work of a step.

A Llama of 4 layers of 128 with a vocabulary of 512, 32 attempts a step (8 at each of 4 prompts), 32 new tokens, plain
AdamW, float32. All sides start from the same weights and see prompts of the same lengths; what they sample differs by
chance, so that what is checked is the work: tokens that were sampled, steps that were taken, weights that moved, and
that both reward the same attempts alike. The bare work is didact's sampler, one forward and backward pass of the model
over rows of the same size (and one of the teacher), and the optimizer's step, each on its own.

It runs in an environment of its own (see language-peers.txt), which is used by itself where it lies in
`benchmarks/.language-peers`.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import harness

PEERS = Path(__file__).parent / ".language-peers" / "bin" / "python"
VOCABULARY, WIDTH, LAYERS = 512, 128, 4
ATTEMPTS, SAMPLES, NEW, STEPS, PROMPTS, RATE = 32, 8, 32, 24, 64, 1e-4


@cache
def directory(seed: int) -> str:
    """A Llama with a byte-level tokenizer, as transformers saves them."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    path = tempfile.mkdtemp()
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=352,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 32,
        num_key_value_heads=WIDTH // 32,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(seed)
    model: Any = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        # The end is so unlikely that all attempts have their full length, on both sides.
        model.model.norm.weight[0] = 40.0
        model.model.embed_tokens.weight[:, 0] = 0.5
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[2, 0] = -1.0
    model.save_pretrained(path)
    tokens = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<pad>", "<s>", "</s>"])
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(path)
    return path


def prompts() -> list[str]:
    """Sixty-four prompts of 12 letters."""
    return [f"prompt {i:03d}: " for i in range(PROMPTS)]


def reward_of(text: str) -> float:
    """A reward that differs between attempts and costs nothing: the share of letters before m."""
    return sum(letter < "m" for letter in text) / max(1, len(text))


# ---- TRL


def trl_trainer(kind: str) -> Any:
    """TRL's trainer with everything off that is not the step."""
    import datasets
    import transformers

    trl = importlib.import_module("trl")
    common: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": ATTEMPTS,
        "max_steps": STEPS,
        "max_completion_length": NEW,
        "learning_rate": RATE,
        "weight_decay": 0.01,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "activation_checkpointing": False,
        "dataloader_pin_memory": False,
        "temperature": 1.0,
        "top_k": 0,
    }
    data = datasets.Dataset.from_dict({"prompt": prompts()})
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory(0), padding_side="left")
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(directory(0))
    if kind == "grpo":
        settings = trl.GRPOConfig(num_generations=SAMPLES, beta=0.0, loss_type="dapo", **common)

        def reward(completions: list[str], **_: Any) -> list[float]:
            return [reward_of(text) for text in completions]

        return trl.GRPOTrainer(model, reward, settings, train_dataset=data, processing_class=tokenizer)
    teacher: Any = transformers.AutoModelForCausalLM.from_pretrained(directory(1))
    settings = trl.DistillationConfig(beta=1.0, **common)
    return trl.DistillationTrainer(model, teacher, settings, train_dataset=data, processing_class=tokenizer)


def trl_run(trainer: Any) -> dict[str, Any]:
    """Take the steps."""
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    return {"steps": trainer.state.global_step, "model": trainer.model}


# ---- didact


def our_fit(kind: str) -> Any:
    """What `didact.fit` is given."""
    from didact import Budget
    from didact.catalogue import find
    from didact.loop import LoopConfig, OptimizerConfig
    from didact.parts.models import build_causal
    from didact.rollouts import Sampling, Writer, rollout_rounds
    from didact.teachers import FunctionVerifier, LanguageTeacher
    from didact.types import Question, Questions

    learner = build_causal(f"hf:{directory(0)}")
    questions = Questions(items=tuple(Question(id=i, prompt=prompt) for i, prompt in enumerate(prompts())))
    info = find("grpo" if kind == "grpo" else "gkd")
    parts = {} if kind == "grpo" else {"teacher": LanguageTeacher(build_causal(f"hf:{directory(1)}"))}
    method = info.method_type(info.config_type(), learner, **parts)
    samples = SAMPLES if kind == "grpo" else 1
    verifier = FunctionVerifier(lambda text, _question: reward_of(text)) if kind == "grpo" else None
    writer = Writer(learner, Sampling(max_new_tokens=NEW, samples=samples), verifier)
    source = rollout_rounds(questions, writer, method.collect, batch_size=ATTEMPTS)
    settings = {
        "budget": Budget(steps=STEPS),
        "optimizer": OptimizerConfig(lr=RATE, schedule="constant", weight_decay=0.01),
        "loop": LoopConfig(device="cpu", progress=False),
    }
    return method, source, settings


def our_run(prepared: Any) -> dict[str, Any]:
    """Take the steps."""
    from didact import fit

    method, source, settings = prepared
    result = fit(method, source, **settings)
    return {"steps": result.steps, "model": method.learner.module, "sampled": result.cost.sampled_tokens}


# ---- the bare work


def bare(kind: str) -> Any:
    """A sampler, models and an optimizer."""
    from didact.parts.models import build_causal
    from didact.rollouts import Sampler, Sampling

    learner, teacher = build_causal(f"hf:{directory(0)}"), build_causal(f"hf:{directory(1)}")
    optimizer = torch.optim.AdamW(learner.parameters(), lr=RATE, weight_decay=0.01, fused=True)
    samples = SAMPLES if kind == "grpo" else 1
    sampler = Sampler(learner, Sampling(max_new_tokens=NEW, samples=samples))
    return learner, None if kind == "grpo" else teacher, optimizer, sampler


def bare_run(prepared: Any) -> dict[str, Any]:
    """Decode; then forward, backward and the optimizer's step on rows of the same size."""
    learner, teacher, optimizer, sampler = prepared
    texts, count, sampled = prompts(), ATTEMPTS // sampler.sampling.samples, 0
    for step in range(STEPS):
        start = step * count % PROMPTS
        tokens = [learner.tokenizer.encode(text) for text in texts[start : start + count]]
        found = sampler.sample(tokens, range(start, start + count), visit=step)
        sampled += found.written
        head = torch.tensor(tokens).repeat_interleave(sampler.sampling.samples, 0)
        ids = torch.cat([head, found.tokens[:, :NEW]], 1)
        if teacher is not None:
            with torch.no_grad():
                teacher.module(ids)
        scores = learner.head(learner.module(ids))[:, -NEW - 1 : -1]
        torch.nn.functional.cross_entropy(scores.flatten(0, 1), ids[:, -NEW:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"steps": STEPS, "model": learner.module, "sampled": sampled}


def check(results: Mapping[str, Any]) -> None:
    """Every side took the steps, sampled all the tokens, and moved weights that were the same at the beginning."""
    import transformers

    before: Any = transformers.AutoModelForCausalLM.from_pretrained(directory(0))
    started = dict(before.named_parameters())
    for side, found in results.items():
        assert found["steps"] == STEPS, f"{side} took {found['steps']} steps"
        moved = {name: (p - started[name]).abs().max().item() for name, p in found["model"].named_parameters()}
        assert 0 < max(moved.values()) < 2 * STEPS * RATE, f"{side} moved its weights by {max(moved.values())}"
        if "sampled" in found:
            assert found["sampled"] == STEPS * ATTEMPTS * NEW, f"{side} sampled {found['sampled']} tokens"


def cases(options: Namespace) -> list[harness.Case]:
    """A step of each kind, in units of steps."""

    def case(name: str, kind: str, least: float) -> list[harness.Case]:
        didact = harness.Side(prepare=partial(our_fit, kind), run=our_run)
        plain = harness.Side(prepare=partial(bare, kind), run=bare_run)
        work = [harness.Case(name=f"{name}, to the bare work", sides={"bare work": plain, "didact": didact},
                             bound="bare work", check=check, units=STEPS, targets={"didact": 1.35})]  # fmt: skip
        if importlib.util.find_spec("trl") is None:
            return work
        trl = harness.Side(prepare=partial(trl_trainer, kind), run=trl_run)
        peer = harness.Case(name=f"{name}, to TRL", sides={"TRL": trl, "didact": didact},
                            bound="TRL", check=check, units=STEPS, targets={"didact": 1 / least}, rounds=9)  # fmt: skip
        return [peer, *work]

    return [*case("GRPO step", "grpo", 1.6), *case("on-policy distillation step", "distillation", 1.6)]


def main() -> int:
    """Run, beside the peer where it is installed."""
    if importlib.util.find_spec("trl") is None and PEERS.exists() and Path(sys.executable) != PEERS:
        os.execv(PEERS, [str(PEERS), *sys.argv])
    harness.PACKAGES = (*harness.PACKAGES, "trl", "transformers")
    parser = harness.arguments(__doc__ or "")
    parser.set_defaults(threads=2)
    return harness.main("attempts", parser, cases)


if __name__ == "__main__":
    sys.exit(main())
