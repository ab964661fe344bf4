"""TAID: Temporally Adaptive Interpolated Distillation for Efficient Knowledge Transfer in Language Models (Shing 2025).

The target lies between the student's own distribution and the teacher's: the softmax of (1 - t) times the student's
logits plus t times the teacher's. t rises from `t_start` to 1, faster while the loss falls quickly and never slower
than linearly, so that the target stays a little ahead of the student.

Departures: the adaptive rise of t is per budget, not per step, so that it acts in short runs as in long ones: the
authors' alpha of 0.0005 in 16,000 steps (5 epochs of UltraChat-200k in batches of 64) is a `pace` of 8.

Compared with src/distil_losses/taid.py of SakanaAI/TAID: target, gradient, rise and defaults agree. There t rises from
the second step on, here from the first, by falls of the cross-entropy, here of the KL, as in the paper. Values and
gradients: `tests/methods/test_language_teachers.py::test_taid_is_its_transcription`.

On `markov`, it is worse than a tuned "distillation" by 0.19 nats (0.12 to 0.25), and undecided against `sft` (-0.026,
-0.074 to +0.023).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import metric_term, select_tokens, token_counts
from didact.types import Batch, CompletionFeed, LanguageLearner, Method, States, Teacher, Terms
from didact.types.algebra import mix

SMALL = 1e-15
"""Added to the previous loss, which divides its decrease."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `taid`."""

    t_start: float = 0.4  # initial share of the teacher in the target
    pace: float = 8.0  # largest rise of t per budget beyond the linear rise (the paper's alpha times its steps)
    inertia: float = 0.99  # momentum of the average decrease of the loss (the paper's beta)

    def __post_init__(self) -> None:
        check_range("t_start", self.t_start, at_least=0.0, below=1.0)
        check_range("pace", self.pace, at_least=0.0)
        check_range("inertia", self.inertia, at_least=0.0, below=1.0)


class Rise:
    """The rising share of the teacher; kept on the device, so that no step waits for it."""

    def __init__(self) -> None:
        self.figures = torch.zeros(4, dtype=torch.float64)
        """The share, the average relative fall of the loss, the last loss (0 if none), and the share of the budget."""

    def update(self, loss: Tensor, config: Config, fraction: float) -> None:
        """Raise the share after a step with this loss, at this share of the budget."""
        share, average, before, used = self.figures.to(loss.device)
        fall = torch.where(before > 0, (before - loss) / (before + SMALL), torch.zeros_like(loss))
        average = config.inertia * average + (1.0 - config.inertia) * fall
        rise = config.pace * (fraction - used) * torch.sigmoid(average) * (1.0 - share)
        least = config.t_start + (1.0 - config.t_start) * fraction
        now = torch.full_like(share, fraction)
        self.figures = torch.stack([(share + rise).clamp(min=least, max=1.0), average, loss.double(), now])

    def state_dict(self) -> dict[str, Any]:
        """The figures."""
        return {"figures": self.figures}

    def load_state_dict(self, state: Any, /) -> None:
        """Restore the figures."""
        self.figures = state["figures"]


class TAID(Method):
    """Distil a target that moves from the student to the teacher.

    Args:
        config: the options.
        learner: a causal language model.
        teacher: a language model with the same tokenizer.
    """

    feed = CompletionFeed()

    def __init__(self, config: Config, learner: LanguageLearner, teacher: Teacher) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher
        self.rise = Rise()
        self.rise.figures[0] = config.t_start
        self.seen = torch.zeros(2)  # the sum and the count of this step's loss, over all parts of its batch

    def loss(self, batch: Batch) -> Terms:
        """The term `teacher`, averaged over tokens; `share` is the teacher's share in the target."""
        rows = select_tokens(self.learner(batch), batch)
        share = self.rise.figures[0].to(rows.hidden)
        both = [States(hidden=rows.hidden, head=rows.head), rows.pick_signal(self.teacher.signal(batch))]
        target = mix(both, torch.stack([1.0 - share, share]), space="logit")
        term = token_divergence(rows.hidden, rows.head, target, kind="forward", weight=rows.weight)
        count = torch.as_tensor(term.count, device=term.sum.device)
        self.seen = self.seen.to(count.device) + torch.stack([term.sum.detach(), count])
        return Terms(teacher=rows.per_example(term), share=metric_term(share.expand(batch.size)))

    def after_step(self) -> None:
        """Raise the share."""
        self.place.sum([self.seen])
        total, count = self.seen
        self.seen = torch.zeros_like(self.seen)
        self.rise.update(total / count.clamp(min=1.0), self.config, self.fraction)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The tokens of the completions."""
        return {"teacher": token_counts(batch)["token"], "share": batch.size}


CLAIM = Claim(
    statement="A student whose target moves from its own distribution to that of a larger model predicts text better "
    "than one that is distilled from the larger model from the start.",
    arms={
        "taid": "taid",
        "distillation": {"method": "gkd", "on_policy": 0.0, "divergence": "forward"},
        "sft": {"method": "sft", "lr": 0.02},
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="taid",
    baseline="distillation",
    cheap="sft",
    ablation="distillation",
    untaught="untaught",
    smallest_effect=0.02,
    search={"taid": {"t_start": (0.2, 0.4), "lr": (0.01, 0.02)}, "distillation": {"lr": (0.003, 0.01, 0.02, 0.03)}},
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311),
    settings={
        "student": "decoder:1x32",
        "teacher": "warm:300:decoder:1x64",
        "batch_size": 32,
        "steps": 200,
        "warmup": 0.1,
        "sampling": {"max_new_tokens": 21},
        "evaluate_every": 1000,
    },
    equal="steps",
    world="markov",
    metric="nll",
    shows="A model of half the width is led step by step to the distribution of one that it cannot equal.",
    omits="Teachers many times larger, and their longer texts.",
    systems=("taid",),
)
