"""A cache of a teacher's answers: how many bytes a token, what is lost, and what writing and reading cost.

The teacher is SmolLM2-135M-Instruct where `memory.py` converted it into `benchmarks/.real-model`, and else a decoder of
8M parameters with random weights; the text is the documentation of Python's own modules. The bytes and the divergences
are printed, and written into a file of their own, beside those of DistillKit's scheme at its two published settings.

Capturing is held to the teacher's bare pass over the same batches, with its logits; a step of a student from the cache
to the same step with the signal in memory already, and reading alone to a tenth of it. The student has 1M parameters
besides its embeddings. Memory is that of processes of their own, at three sizes of the data.
"""

import inspect
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import harness

MODEL = Path(__file__).parent / ".real-model"
ROWS, LENGTH, BATCHES = 8, 128, 3
SIZES = (1, 2, 4)
"""How many times the batches, for the memory of capturing."""
TOP_K = 32


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """A setting of DistillKit's scheme (`logprob_compressor` of arcee-ai/DistillKit), without residual bins.

    The likeliest tokens are sorted. The first log-probabilities are kept in bfloat16. Those after them, at 0, 1, 2 and
    so on, are the least-squares fit of some terms, whose coefficients are kept in float32. Ids take as many bits as the
    vocabulary needs.
    """

    name: str
    kept: int
    exact: int
    powers: tuple[float, ...]
    """The exponents of the terms; 0.5 is the square root."""

    def bytes(self, vocabulary: int) -> int:
        """Bytes a token."""
        bits = max(1, (vocabulary - 1).bit_length())
        return 2 * self.exact + 4 * len(self.powers) + (self.kept * bits + 7) // 8

    def stored(self, log_probs: torch.Tensor) -> Any:
        """What is read back of log-probabilities [R, V]: a `TopK` whose tail is what is left of 1."""
        from didact.types import TopK

        top = log_probs.double().topk(self.kept, -1)
        place = torch.arange(self.kept - self.exact, dtype=torch.float64)
        terms = torch.stack([place**power for power in self.powers], -1)
        rest = top.values[:, self.exact :].T
        # By QR of columns of unit length, since the powers differ by orders of magnitude.
        length = terms.norm(dim=0)
        found = torch.linalg.lstsq(terms / length, rest).solution / length[:, None]
        fitted = (terms.float() @ found.float()).T
        values = torch.cat([top.values[:, : self.exact].bfloat16().float(), fitted], -1)
        return TopK(ids=top.indices, log_probs=values, tail=(1 - values.double().exp().sum(-1)).clamp(0, 1).float())


DISTILLKIT = (
    Polynomial(name="DistillKit, budget pick", kept=50, exact=1, powers=(0, 1, 0.5)),
    Polynomial(name="DistillKit, recommended", kept=128, exact=16, powers=(0, 1, 2, 3, 4, 0.5)),
)
"""Its published settings: about 114 and 300 bytes a token."""


def text() -> str:
    """Documentation, as one string."""
    import argparse
    import collections
    import decimal
    import logging
    import pathlib
    import statistics
    import subprocess
    import threading
    import typing

    modules = (argparse, collections, decimal, logging, pathlib, statistics, subprocess, threading, typing)
    return "\n".join(inspect.getdoc(value) or "" for module in modules for value in vars(module).values())


@cache
def teacher() -> Any:
    """The teacher, frozen."""
    from didact.parts.models import build_causal
    from didact.teachers import LanguageTeacher

    torch.manual_seed(0)
    return LanguageTeacher(build_causal(f"hf:{MODEL}" if MODEL.is_dir() else "decoder:10x256"))


@cache
def student() -> Any:
    """A small model of the same tokens."""
    from didact.parts.models import build_causal

    if not MODEL.is_dir():
        return build_causal("decoder:4x128")
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=teacher().learner.head.vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        tie_word_embeddings=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)
        return build_causal(f"hf:{folder}")


@cache
def batches(times: int = 1) -> Sequence[Any]:
    """Batches of text; all of it is learned."""
    from didact.types import Batch

    ids = torch.tensor(teacher().learner.tokenizer.encode(text()))
    rows = ids[: ROWS * LENGTH * BATCHES * times].view(-1, ROWS, LENGTH)
    ones = torch.ones(ROWS, LENGTH, dtype=torch.int64)
    return [
        Batch({"input_ids": part, "attention_mask": ones, "completion_mask": ones.bool(), "id": torch.arange(ROWS)})
        for part in rows
    ]


@torch.no_grad()
def ask(times: int = 1) -> list[torch.Tensor]:
    """The teacher's bare pass, with its logits."""
    kept = []
    for batch in batches(times):
        states = teacher().signal(batch)
        kept.append(states.head(states.hidden)[:, :, :8].clone())
    return kept


def folder() -> Path:
    """A new directory, in which the last one's shards are not."""
    return Path(tempfile.mkdtemp(prefix="cache-of-signals-"))


def capture(directory: Path, times: int = 1) -> Any:
    """Ask the teacher, and store what it answers."""
    from didact.memory import signal_store
    from didact.memory.coding import Form, columns_of
    from didact.memory.signal_store import SignalStore
    from didact.teachers.stored import rows_of

    form, outcomes = Form("top_k", TOP_K, 8), teacher().learner.head.vocabulary
    with torch.no_grad():
        for number, batch in enumerate(batches(times)):
            signal = teacher().signal(batch)
            if not number:
                columns = columns_of(form.reduce(signal.flatten().rows(slice(0, 1))), form, outcomes)
                facts = {
                    "unit": "token",
                    "kind": "TopK",
                    "form": {"kept": "top_k", "count": TOP_K, "bits": 8},
                    "columns": signal_store.column_facts(columns),
                }
                signal_store.begin(directory, facts)
            store = SignalStore(directory)
            signal_store.write_shard(directory, f"{number:06d}", rows_of(store, batch, signal), {})
    return SignalStore(directory)


def check_capture(results: Mapping[str, Any]) -> None:
    """The store holds the likeliest tokens of the bare pass."""
    assert len(results["didact"]) == ROWS * BATCHES


@cache
def stored() -> Any:
    """A teacher of the batches' answers."""
    from didact.teachers import StoredTeacher

    return StoredTeacher(capture(folder()))


@cache
def held() -> Any:
    """The same answers to the first batch, in memory."""
    return stored().signal(batches()[0])


def step(signal_of: Any) -> float:
    """Forward and backward of the student on the first batch, and the loss."""
    from didact.losses.tokens.divergence import token_divergence
    from didact.losses.tokens.rows import select_tokens

    batch = batches()[0]
    rows = select_tokens(student()(batch), batch)
    term = token_divergence(rows.hidden, rows.head, rows.pick_signal(signal_of(batch)), weight=rows.weight)
    loss = term.sum / term.count
    loss.backward()
    student().zero_grad()
    return float(loss.detach())


def check_step(results: Mapping[str, Any]) -> None:
    """The losses are equal."""
    assert results["from the cache"] == results["in memory"], results


def read() -> int:
    """Read the signals of the first batch, without a student."""
    return stored().signal(batches()[0]).ids.shape[0]


def cases(_options: Namespace) -> list[harness.Case]:
    """Capturing, steps, reading, and the memory of capturing at three sizes."""
    bare = harness.Side(run=lambda _: ask())
    capturing = harness.Side(run=capture, prepare=folder)
    sizes = {f"{times} x": harness.Side(run=partial(capture, times=times), prepare=folder) for times in SIZES}
    return [
        harness.Case(
            name="capture",
            sides={"the teacher's pass": bare, "didact": capturing},
            bound="the teacher's pass",
            check=check_capture,
            units=ROWS * LENGTH * BATCHES,
            targets={"didact": 1.10},
            rounds=9,
        ),
        harness.Case(
            name="a student's step",
            sides={
                "in memory": harness.Side(run=lambda _: step(lambda _: held())),
                "from the cache": harness.Side(run=lambda _: step(stored().signal)),
                "reading alone": harness.Side(run=lambda _: read()),
            },
            bound="in memory",
            check=check_step,
            units=1,
            targets={"from the cache": 1.05, "reading alone": 0.1},
        ),
        harness.Case(
            name="memory of capturing",
            sides=sizes,
            bound=f"{SIZES[0]} x",
            check=lambda _: None,
            memory={f"{times} x": 1.05 for times in SIZES[1:]},
            rounds=1,
        ),
    ]


def sizes() -> None:
    """Print and write bytes a token and divergences."""
    from didact.memory.coding import Form, columns_of, decode, encode, loss_of
    from didact.types.algebra import from_tensors

    with torch.no_grad():
        batch = batches()[0]
        signal = teacher().signal(batch).flatten().rows(slice(0, 512))
    outcomes = teacher().learner.head.vocabulary
    found = []
    for form in (Form("top_k", 16, 8), Form("top_k", 32, 8), Form("top_k", 96, 8)):
        kept = form.reduce(signal)
        columns = columns_of(kept, form, outcomes)
        lost = loss_of(signal, from_tensors("TopK", decode(encode(kept, columns), columns)))
        each = sum(column.width_in_bytes for column in columns.values())
        found.append({"kept": form.kept, "count": form.count, "bytes": each, **lost})
        print(f"{form.kept} {form.count}: {each} bytes a token, " + ", ".join(f"{k} {v:.2g}" for k, v in lost.items()))
    for scheme in DISTILLKIT:
        lost, each = loss_of(signal, scheme.stored(signal.log_softmax().float())), scheme.bytes(outcomes)
        found.append({"kept": scheme.name, "count": scheme.kept, "bytes": each, **lost})
        print(f"{scheme.name}: {each} bytes a token, " + ", ".join(f"{k} {v:.2g}" for k, v in lost.items()))
    result = {
        "benchmark": "cache_size",
        "device": harness.device_name("cpu"),
        "teacher": "SmolLM2-135M-Instruct" if MODEL.is_dir() else "a random decoder",
        "vocabulary": outcomes,
        "forms": found,
    }
    harness.write(result, harness.RESULTS)


if __name__ == "__main__":
    parser = harness.arguments(__doc__ or "")
    if "--peak-of" not in sys.argv:
        sizes()
    sys.exit(harness.main("cache", parser, cases))
