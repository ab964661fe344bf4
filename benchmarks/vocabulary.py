"""The fused divergence of a vocabulary's head next to dense PyTorch, TRL's and liger-kernel's chunked losses.

All compute the forward KL of 2,048 tokens over 151,936 ids from hidden states of width 256, forward and backward, with
gradients for the student's hidden states and head, and must agree. Besides, didact's peak memory may be at most a sixth
of the dense loss's, and at most that of each peer. It runs in an environment of its own (see language-peers.txt), which
is used by itself where it lies in `benchmarks/.language-peers`; where there is none, didact is held to dense PyTorch
alone. liger-kernel's loss is not compiled, which takes longer than the loss on a CPU.
"""

import importlib
import importlib.util
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import harness

PEERS = Path(__file__).parent / ".language-peers" / "bin" / "python"
TOKENS, VOCABULARY, WIDTH = 2048, 151_936, 256
MEMORY = 1 / 6
"""The largest share of the dense loss's peak memory that didact's may take."""
Result = tuple[Tensor, Tensor, Tensor]
"""A loss, and its gradients for hidden states and head."""


@dataclass(frozen=True, slots=True)
class Given:
    """What all sides are given: hidden states and heads of student and teacher."""

    hidden: Tensor
    weight: Tensor
    teacher_hidden: Tensor
    teacher_weight: Tensor


Loss = Callable[[Given], Tensor]


def given(device: str, tokens: int = TOKENS, vocabulary: int = VOCABULARY, width: int = WIDTH) -> Given:
    """The same random numbers at each call, whose scores have a variance of 1; the student's need a gradient."""
    generator = torch.Generator().manual_seed(0)
    rows = (tokens, vocabulary, tokens, vocabulary)
    tensors = [torch.randn(n, width, generator=generator).mul_(width**-0.25).to(device) for n in rows]
    return Given(tensors[0].requires_grad_(), tensors[1].requires_grad_(), tensors[2], tensors[3])


def run(loss: Loss, work: Given) -> Result:
    """Forward and backward, once."""
    work.hidden.grad = work.weight.grad = None
    value = loss(work)
    value.backward()
    assert work.hidden.grad is not None and work.weight.grad is not None
    return value.detach(), work.hidden.grad, work.weight.grad


def dense(work: Given) -> Tensor:
    """As one writes it with what PyTorch has."""
    with torch.no_grad():
        theirs = F.log_softmax(F.linear(work.teacher_hidden, work.teacher_weight), -1)
    mine = F.log_softmax(F.linear(work.hidden, work.weight), -1)
    return F.kl_div(mine, theirs, reduction="sum", log_target=True) / len(mine)


def trl(work: Given) -> Tensor:
    """What its distillation trainer computes."""
    function: Any = importlib.import_module("trl.kernels.chunked_divergence").ChunkedDivergenceFunction
    divergence, _ = function.apply(work.hidden, work.weight, None, work.teacher_hidden, work.teacher_weight, None, 0.0)
    return divergence.mean()


def liger(work: Given) -> Tensor:
    """Its chunked divergence with the whole weight on the teacher."""
    losses: Any = importlib.import_module("liger_kernel.chunked_loss")
    loss = losses.LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0, compiled=False)
    labels = torch.zeros(len(work.hidden), dtype=torch.long, device=work.hidden.device)
    return loss(work.hidden, work.weight, work.teacher_hidden, work.teacher_weight, labels)


def didact(work: Given) -> Tensor:
    """What methods of distillation compute for each token."""
    from didact.losses.tokens.divergence import token_divergence
    from didact.types import Head, States

    teacher = States(hidden=work.teacher_hidden, head=Head(work.teacher_weight))
    return token_divergence(work.hidden, Head(work.weight), teacher, kind="forward").mean()


def check(results: Mapping[str, Result]) -> None:
    """Losses and gradients agree to 1e-4 of their size: float32 sums of 151,936 numbers in other orders."""
    for side, found in results.items():
        for mine, theirs in zip(found, results["dense PyTorch"], strict=True):
            error = ((mine - theirs).norm() / theirs.norm()).item()
            assert error < 1e-4, f"{side} differs from dense PyTorch by {error:.1e}"


def cases(options: Namespace) -> list[harness.Case]:
    """The one case, with the peers that are there."""
    losses: dict[str, Loss] = {"dense PyTorch": dense, "didact": didact}
    if importlib.util.find_spec("trl"):
        losses["TRL, chunked"] = trl
    if importlib.util.find_spec("liger_kernel"):
        losses["liger-kernel, chunked"] = liger
    work = partial(given, options.device)
    return [
        harness.Case(
            name=f"forward KL, {TOKENS} tokens, {VOCABULARY} ids, width {WIDTH}",
            sides={side: harness.Side(prepare=work, run=partial(run, loss)) for side, loss in losses.items()},
            bound="dense PyTorch",
            check=check,
            targets={"didact": 1.0},
            rounds=3,
        )
    ]


def peaks(folder: Path) -> dict[str, int]:
    """Bytes by side, from the result that was written last."""
    newest = max(folder.glob("vocabulary.*.json"), key=lambda path: path.stat().st_mtime)
    sides = json.loads(newest.read_text())["cases"][0]["sides"]
    return {side: found["memory"].get("device") or found["memory"]["resident"] for side, found in sides.items()}


def main() -> int:
    """Run, beside the peers where they are installed, and hold didact to its share of memory."""
    if importlib.util.find_spec("trl") is None and PEERS.exists() and Path(sys.executable) != PEERS:
        os.execv(PEERS, [str(PEERS), *sys.argv])
    harness.PACKAGES = (*harness.PACKAGES, "trl", "transformers", "liger-kernel")
    parser = harness.arguments(__doc__ or "")
    status = harness.main("vocabulary", parser, cases)
    options = parser.parse_args()
    if options.peak_of:
        return status
    memory = peaks(options.output)
    for side, most in memory.items():
        if side != "didact":
            allowed = MEMORY if side == "dense PyTorch" else 1.0
            share = memory["didact"] / most
            met = share <= allowed
            print(
                f"didact's peak memory is {share:.3f} of {side}'s; target ≤ {allowed:.3f} {'met' if met else 'MISSED'}"
            )
            status = status if met else 1
    return status


if __name__ == "__main__":
    sys.exit(main())
