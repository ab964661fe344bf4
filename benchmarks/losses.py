"""The losses of distillation next to torchdistill's and POT's, forward and backward, on the same numbers.

It runs in an environment of its own (see peers.txt), which is used by itself where it lies in `benchmarks/.peers`.
torchdistill has no loss of decoupled distillation; there the bound is the formula as the paper's authors compute it.
Its contrastive loss draws negatives for each anchor; here all anchors are given the same ones, which is what didact
compares with, the small number that it adds to probabilities is 0, and both bring their banks up to date.
"""

import importlib
import importlib.util
import math
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

PEERS = Path(__file__).parent / ".peers" / "bin" / "python"
IMPORT_FIRST = "DIDACT_IMPORT_FIRST"
TEMPERATURE, ALPHA = 4.0, 0.9
REGULARISATION, ITERATIONS = 0.1, 20
NEGATIVES, BANK, WIDTH, SHARPNESS, MOMENTUM = 1024, 4096, 128, 0.07, 0.5
Result = tuple[Tensor, Tensor]
"""A loss, and its gradient for the student."""


@dataclass(frozen=True, slots=True)
class Given:
    """What both sides of a case are given."""

    student: Tensor
    teacher: Tensor
    labels: Tensor


def given(shape: tuple[int, ...], device: str, *, sphere: bool = False) -> Given:
    """The same random numbers at each call: a student's that need a gradient, a teacher's, and ten labels."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(shape, generator=generator) for _ in range(2))
    if sphere:
        student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    labels = torch.randint(10, shape[:1], generator=generator)
    return Given(student.to(device).requires_grad_(), teacher.to(device), labels.to(device))


def repeat(times: int, loss: Callable[[], Any], work: Given) -> Result:
    """Forward and backward so often; what `backward` is called on may be a tensor or didact's terms."""
    found: Any = None
    for _ in range(times):
        work.student.grad = None
        found = loss()
        found.backward()
    value = found if isinstance(found, Tensor) else found.total()
    assert work.student.grad is not None
    return value.detach(), work.student.grad


def peer() -> Any:
    """The module with torchdistill's losses."""
    if os.environ.get(IMPORT_FIRST):
        importlib.import_module(os.environ[IMPORT_FIRST])
    return importlib.import_module("torchdistill.losses.mid_level")


def outputs(tensor: Tensor) -> dict[str, dict[str, Tensor]]:
    """What torchdistill's losses read their tensors from."""
    return {"it": {"output": tensor}}


# ---- torchdistill


def peer_kd(work: Given) -> Callable[[], Tensor]:
    """Softened divergence and cross-entropy."""
    module = peer().KDLoss("it", "output", "it", "output", temperature=TEMPERATURE, alpha=1 - ALPHA)
    return lambda: module(outputs(work.student), outputs(work.teacher), work.labels)


def peer_mse(work: Given) -> Callable[[], Tensor]:
    """The hint loss, as its examples configure it."""
    sides: dict[str, Any] = {"input": {"is_from_teacher": False, "module_path": "it", "io": "output"}}
    sides["target"] = {"is_from_teacher": True, "module_path": "it", "io": "output"}
    module = peer().SimpleLossWrapper(torch.nn.MSELoss(), **sides)
    return lambda: module(outputs(work.student), outputs(work.teacher), None)


def peer_attention(work: Given) -> Callable[[], Tensor]:
    """As the authors' code."""
    pair = {side: {"io": "output", "path": "it"} for side in ("student", "teacher")}
    module = peer().ATLoss({"pair": pair}, mode="code")
    return lambda: module(outputs(work.student), outputs(work.teacher))


def peer_relational(work: Given) -> Callable[[], Tensor]:
    """Distances and angles, with the weights of the paper's metric learning."""
    module = peer().RKDLoss("it", "it", dist_factor=1.0, angle_factor=2.0, reduction="mean")
    return lambda: module(outputs(work.student), outputs(work.teacher))


def banks() -> tuple[Tensor, Tensor, Tensor]:
    """The two banks that both sides start from, and the rows that are negatives."""
    generator = torch.Generator().manual_seed(1)
    mine, theirs = (F.normalize(torch.randn(BANK, WIDTH, generator=generator), dim=1) for _ in range(2))
    # No example of the batch, which have the first rows, is a negative.
    return mine, theirs, torch.arange(BANK - NEGATIVES, BANK)


def peer_contrastive(work: Given) -> Callable[[], Tensor]:
    """With the rows and negatives that didact's side has, in its own banks."""
    module = peer().CRDLoss("it", "empty", "it", WIDTH, BANK, NEGATIVES, BANK, SHARPNESS, MOMENTUM, 0.0)
    mine, theirs, negatives = banks()
    module.memory_v1.copy_(mine)
    module.memory_v2.copy_(theirs)
    module.params[2:4] = BANK * math.exp(0.5)  # the normalisers, which it would take from its first batch
    rows = torch.arange(len(work.student))
    chosen = torch.cat([rows.unsqueeze(1), negatives.expand(len(rows), -1)], 1)
    extra = {"empty": {"input": {"pos_idx": rows, "contrast_idx": chosen}}}

    def loss() -> Tensor:
        return module({**outputs(work.student), **extra}, outputs(work.teacher)).sum()

    return loss


def reference_decoupled(work: Given) -> Callable[[], Tensor]:
    """Probabilities of target and others put side by side, and others alone by a mask, as the authors compute it."""

    def loss() -> Tensor:
        mask = torch.zeros_like(work.student).scatter_(1, work.labels.unsqueeze(1), 1.0)
        mine, theirs = (F.softmax(x / TEMPERATURE, dim=1) for x in (work.student, work.teacher))
        pairs = [torch.stack([(p * mask).sum(1), (p * (1 - mask)).sum(1)], 1) for p in (mine, theirs)]
        of_target = F.kl_div(pairs[0].log(), pairs[1], reduction="sum")
        others = [x / TEMPERATURE - 1000.0 * mask for x in (work.student, work.teacher)]
        of_others = F.kl_div(F.log_softmax(others[0], dim=1), F.softmax(others[1], dim=1), reduction="sum")
        return (of_target + 8.0 * of_others) * (TEMPERATURE**2 / len(work.student))

    return loss


def peer_transport(work: Given) -> Callable[[], Tensor]:
    """POT's Sinkhorn iterations, differentiated by autograd; it scales columns first, so that the sides are swapped."""
    ot = importlib.import_module("ot")
    mass = torch.ones(len(work.student), device=work.student.device)
    theirs = F.softmax(work.teacher, dim=1)
    iterations: dict[str, Any] = {"numItermax": ITERATIONS, "stopThr": 0.0, "warn": False}

    def loss() -> Tensor:
        cost = torch.cdist(theirs, F.softmax(work.student, dim=1), p=1.0)
        plan = ot.sinkhorn(mass, mass, cost, REGULARISATION, method="sinkhorn", **iterations)
        return (plan * cost).sum() / len(mass)

    return loss


# ---- didact


def our_kd(work: Given) -> Callable[[], Any]:
    """What `distill` computes."""
    from didact.losses.labels.supervised import label_loss
    from didact.losses.labels.targets import distillation_loss
    from didact.types import Logits, Terms

    return lambda: Terms(
        teacher=distillation_loss(work.student, Logits(logits=work.teacher), temperature=TEMPERATURE).times(ALPHA),
        label=label_loss(work.student, work.labels).times(1 - ALPHA),
    )


def our_mse(work: Given) -> Callable[[], Any]:
    """What `fitnet` computes in its first stage."""
    from didact.losses.features.distances import feature_mse
    from didact.types import Terms

    return lambda: Terms(hint=feature_mse(work.student, work.teacher))


def our_attention(work: Given) -> Callable[[], Any]:
    """What `attention_transfer` computes for a stage."""
    from didact.losses.features.attention import attention_transfer
    from didact.types import Terms

    # torchdistill's is the mean over positions.
    share = 1 / work.student[0, 0].numel()
    return lambda: Terms(attention=attention_transfer(work.student, work.teacher).times(share))


def our_relational(work: Given) -> Callable[[], Any]:
    """What `relational` computes."""
    from didact.losses.pairs.relational import rkd_angle, rkd_distance
    from didact.types import Terms

    return lambda: Terms(
        distance=rkd_distance(work.student, work.teacher),
        angle=rkd_angle(work.student, work.teacher).times(2.0),
    )


def our_contrastive(work: Given) -> Callable[[], Any]:
    """What `contrastive_distillation` computes, with the row of the pass before as the positive, as torchdistill."""
    from didact.losses.pairs.contrastive import nce_loss
    from didact.memory import EmbeddingBank
    from didact.types import Term, Terms

    mine, theirs = (EmbeddingBank(BANK, WIDTH, momentum=MOMENTUM) for _ in range(2))
    every = torch.arange(BANK)
    rows_mine, rows_theirs, negatives = banks()
    mine.put(every, "embedding", rows_mine)
    theirs.put(every, "embedding", rows_theirs)
    rows = torch.arange(len(work.student))
    options: dict[str, Any] = {"log_normaliser": 0.5, "temperature": SHARPNESS}

    def against(anchors: Tensor, bank: EmbeddingBank) -> Term:
        return nce_loss(anchors, bank.embedding[rows], bank.embedding[negatives], **options)

    def loss() -> Terms:
        terms = Terms(student=against(work.student, theirs), teacher=against(work.teacher, mine))
        mine.move(rows, work.student)
        theirs.move(rows, work.teacher)
        return terms

    return loss


def our_decoupled(work: Given) -> Callable[[], Any]:
    """What `decoupled` computes."""
    from didact.losses.classes.decoupled import decoupled_kd
    from didact.losses.labels.targets import target_log_probs
    from didact.types import Logits, Terms

    def loss() -> Terms:
        theirs = target_log_probs(Logits(logits=work.teacher), TEMPERATURE, classes=work.teacher.shape[1])
        of_target, of_others = decoupled_kd(work.student, theirs, work.labels, temperature=TEMPERATURE)
        return Terms(target=of_target, others=of_others.times(8.0))

    return loss


def our_transport(work: Given) -> Callable[[], Any]:
    """What `sinkhorn` computes."""
    from didact.losses.pairs.transport import sinkhorn_distance
    from didact.types import Terms

    theirs = F.softmax(work.teacher, dim=1)
    options: dict[str, Any] = {"regularisation": REGULARISATION, "iterations": ITERATIONS}
    return lambda: Terms(transport=sinkhorn_distance(work.student, theirs, **options))


# ---- both


def check(results: Mapping[str, Result]) -> None:
    """Loss and gradient agree to 1e-5 of their size."""
    (value, gradient), (other, other_gradient) = results.values()
    assert torch.isclose(value, other, rtol=1e-5, atol=0.0), f"the losses are {value.item()} and {other.item()}"
    error = (gradient - other_gradient).abs().max() / gradient.abs().max()
    assert error < 1e-5, f"the gradients differ by {error.item():.1e} of the largest"


def case(
    name: str,
    shape: tuple[int, ...],
    theirs: tuple[str, Callable[[Given], Callable[[], Any]]],
    ours: Callable[[Given], Callable[[], Any]],
    device: str,
    *,
    times: int,
    rounds: int | None = None,
    sphere: bool = False,
) -> harness.Case:
    """Both sides of a loss, which is computed so many times in a run."""

    def prepare(make: Callable[[Given], Callable[[], Any]]) -> tuple[Callable[[], Any], Given]:
        work = given(shape, device, sphere=sphere)
        return make(work), work

    def run(prepared: tuple[Callable[[], Any], Given]) -> Result:
        return repeat(times, *prepared)

    sides = {theirs[0]: theirs[1], "didact": ours}
    return harness.Case(
        name=name,
        sides={side: harness.Side(prepare=partial(prepare, make), run=run) for side, make in sides.items()},
        bound=theirs[0],
        check=check,
        units=times,
        targets={"didact": 1.0},
        rounds=rounds,
    )


def cases(options: Namespace) -> list[harness.Case]:
    """Logits of 256 examples and 100 classes, and maps of 64 examples of 512 x 8 x 8."""
    logits, maps, device = (256, 100), (64, 512, 8, 8), options.device
    formula = ("the authors' formula", reference_decoupled)
    return [
        case("plain distillation, 256 x 100", logits, ("torchdistill", peer_kd), our_kd, device, times=50),
        case("decoupled, 256 x 100", logits, formula, our_decoupled, device, times=50),
        case("Sinkhorn, 256 x 100", logits, ("POT", peer_transport), our_transport, device, times=10),
        case(
            "relations, 256 x 100", logits, ("torchdistill", peer_relational), our_relational, device, times=1, rounds=7
        ),
        case("feature MSE, 64 x 512 x 8 x 8", maps, ("torchdistill", peer_mse), our_mse, device, times=10),
        case(
            "attention maps, 64 x 512 x 8 x 8", maps, ("torchdistill", peer_attention), our_attention, device, times=10
        ),
        # torchdistill makes tensors of 0.5 GB here, and takes long.
        case(
            *("relations, 64 x 512 x 8 x 8", maps, ("torchdistill", peer_relational), our_relational, device),
            times=1,
            rounds=3,
        ),
        case(
            *("contrast, 64 x 128", (64, WIDTH), ("torchdistill", peer_contrastive), our_contrastive, device),
            times=2,
            sphere=True,
        ),
    ]


def main() -> int:
    """Run where the peer is installed."""
    if importlib.util.find_spec("torchdistill") is None:
        if not PEERS.exists() or Path(sys.executable) == PEERS:
            print("torchdistill is not installed; benchmarks/peers.txt says how to put it beside didact.")
            return 2
        os.execv(PEERS, [str(PEERS), *sys.argv])
    harness.PACKAGES = (*harness.PACKAGES, "torchdistill", "POT")
    return harness.main("losses", harness.arguments(__doc__ or ""), cases)


if __name__ == "__main__":
    sys.exit(main())
