"""Direct Preference Optimization: Your Language Model is Secretly a Reward Model (Rafailov et al. 2023, DPO).

Of two answers to a prompt, the preferred one becomes more likely and the other less likely, both relative to the frozen
initial model, under the logistic loss of the Bradley-Terry model of preferences.

Departures: none.

The claim is not replicated on sums: the faster it learns, the more right answers it loses (learning rates from 0.00001
to 0.001 and a beta of 0.1 and 0.5 were tried). The two answers of a pair share most of their digits here, so lowering
the probability of one lowers that of the other, as Pal et al. (2024) show for pairs that differ by little. Moreover,
the model wrote neither answer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.policy.outputs import sequence_log_probs
from didact.losses.policy.preferences import dpo_loss
from didact.losses.tokens.rows import metric_term
from didact.teachers import snapshot
from didact.types import Batch, CompletionFeed, LanguageLearner, Method, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `dpo`."""

    beta: float = 0.1  # weight of the divergence from the initial model; higher stays nearer

    def __post_init__(self) -> None:
        check_range("beta", self.beta, above=0.0)


class DPO(Method):
    """Learn preferences without a reward model.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = CompletionFeed(pairs=True, rate=0.05)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.learner = learner
        self.reference = snapshot(learner)

    def loss(self, batch: Batch) -> Terms:
        """The term `preference`; `right` is the share of correctly ordered pairs."""
        other = batch.view("rejected")
        mine = [sequence_log_probs(self.learner(one), one) for one in (batch, other)]
        with torch.no_grad():
            theirs = [sequence_log_probs(self.reference.learner(one), one) for one in (batch, other)]
        chosen, rejected = (now - before for now, before in zip(mine, theirs, strict=True))
        losses = dpo_loss(mine[0], mine[1], theirs[0], theirs[1], beta=self.config.beta)
        right = metric_term((chosen > rejected).float())
        return Terms(preference=Term(losses.sum(), len(losses), rows=losses), right=right)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The pairs."""
        return {"preference": batch.size, "right": batch.size}


CLAIM = Claim(
    statement="A model that prefers right sums to those with a wrong carry is right more often than one that fits the "
    "right sums alone.",
    arms={
        "dpo": {"method": "dpo", "beta": 0.5, "lr": 0.00001},
        "sft": {"method": "sft", "lr": 0.0003},
        "dpo, faster": {"method": "dpo", "beta": 0.5, "lr": 0.0001},
    },
    method="dpo",
    baseline="sft",
    cheap="sft",
    settings={
        "student": "warm:700:decoder:2x64",
        "batch_size": 64,
        "steps": 100,
        "sampling": {"max_new_tokens": 6},
    },
    equal="steps",
    world="addition:pairs",
    seeds=(100, 101, 102, 103, 104),
    tuned_on=(0,),
    tuned="The learning rate of dpo (0.00001 to 0.001) and its beta (0.1, 0.5); the learning rate of sft (0.0001, "
    "0.0003, 0.001).",
    shows="What a wrong answer for each right one adds, where the two differ in a digit.",
    omits="Human preferences between whole completions of the model itself.",
)
