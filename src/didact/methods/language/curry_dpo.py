"""Curry-DPO: Enhancing Alignment using Curriculum Learning & Ranked Preferences (Pattnaik et al. 2024).

Where several answers to a question were rated, the best of them is paired with each of the others. The loss is that of
`dpo`, but pairs come in stages: first each question's easiest pair, whose ratings lie furthest apart, and last its
hardest, whose ratings lie closest. In each stage a departure is measured from the model as it was when the stage began.

A question has its answers in `rated`, a list such as `[{"text": "122", "rating": 5}, {"text": "112", "rating": 2}]`.

Departures: all stages share one budget, in equal parts, and one optimizer with its schedule. There are as many stages
as any question has pairs; a question with fewer stays longer with each. Answers that are rated as the best one make no
pair.

Three pairs in stages beat one pair a question, but it is not the order that helps: the same pairs in any order, with
the reference renewed as often, do better still. Without renewing it, they do not show to be better than one pair.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from didact import hashing
from didact.claiming import Claim
from didact.errors import check_choice, check_range
from didact.losses.policy.outputs import sequence_log_probs
from didact.losses.policy.preferences import dpo_loss
from didact.losses.tokens.rows import metric_term
from didact.rollouts import RatedPairs
from didact.teachers import LanguageTeacher
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `curry_dpo`."""

    beta: float = 0.1  # how much a departure from the reference costs
    order: Literal["easy_first", "hard_first", "shuffled"] = "easy_first"  # in which each question's pairs come
    renew: bool = True  # take the model for the reference anew at each stage, instead of only at the beginning

    def __post_init__(self) -> None:
        check_range("beta", self.beta, above=0.0)
        check_choice("order", self.order, ("easy_first", "hard_first", "shuffled"))


class _Stages(LanguageTeacher):
    """The number of the present stage, from 0, and the learner as it was when the reference was taken; `Stateful`."""

    def __init__(self, learner: Any, count: int) -> None:
        super().__init__(copy.deepcopy(learner))
        self.number, self.total = 0, count

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "weights": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.number = state["number"]
        self.learner.load_state_dict(state["weights"])


class CurryDPO(Method):
    """Prefer what was rated best, first to what is much worse, then to what is nearly as good.

    Args:
        config: the options.
        learner: a causal language model.
        questions: those of the training, with their `rated` answers.

    Raises:
        DataError: a question without two answers of which one is better.
        ConfigError: an answer that the learner cannot read as a whole.
    """

    feed = RolloutFeed()

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        self.config, self.learner = config, learner
        self.pairs = RatedPairs.from_questions(questions, learner)
        self.stages = _Stages(learner, self.pairs.max_pairs)

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """A pair of the present stage for each question: its best answer, and the other as the view `rejected`."""
        if self.config.order == "shuffled":
            ids = torch.tensor([question.id for question in questions])
            shares = hashing.uniform(ids, writer.seed, f"pairs/{writer.round}").tolist()
            return self.pairs.batch(writer, questions, shares)
        # Its middle, so that rounding takes no pair for a neighbour.
        share = (self.stages.number + 0.5) / self.stages.total
        share = share if self.config.order == "easy_first" else 1.0 - share
        return self.pairs.batch(writer, questions, [share] * len(questions))

    def loss(self, batch: Batch) -> Terms:
        """The term `preference`; `right` is the share of pairs that the learner orders as it should, `gap` the gap."""
        other = batch.view("rejected")
        mine = [sequence_log_probs(self.learner(one), one) for one in (batch, other)]
        with torch.no_grad():
            theirs = [sequence_log_probs(self.stages.learner(one), one) for one in (batch, other)]
        chosen, rejected = (now - before for now, before in zip(mine, theirs, strict=True))
        losses = dpo_loss(mine[0], mine[1], theirs[0], theirs[1], beta=self.config.beta)
        shown = {"right": metric_term((chosen > rejected).float()), "gap": metric_term(batch["gap"])}
        return Terms(preference=Term(losses.sum(), len(losses), rows=losses), **shown)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The pairs."""
        return dict.fromkeys(("preference", "right", "gap"), batch.size)

    def after_step(self) -> None:
        """Begin the next stage when it is time."""
        number = min(int(self.fraction * self.stages.total), self.stages.total - 1)
        if number > self.stages.number:
            self.stages.number = number
            if self.config.renew:
                self.stages.learner.load_state_dict(self.learner.state_dict())


CLAIM = Claim(
    statement="A model that learns from three pairs a question, in stages from easy to hard, gives the best answer "
    "more often than one that learns from a single pair a question, the best answer and the worst.",
    arms={
        "curry_dpo": "curry_dpo",
        "dpo": "dpo",
        "shuffled": {"method": "curry_dpo", "order": "shuffled"},
        "shuffled, one reference": {"method": "curry_dpo", "order": "shuffled", "renew": False},
    },
    method="curry_dpo",
    baseline="dpo",
    cheap="shuffled",
    settings={
        "student": "warm:30%:decoder:2x64",
        "batch_size": 64,
        "steps": 240,
        "lr": 0.0005,
        "warmup": 0.1,
        "beta": 0.3,
        "sampling": {"max_new_tokens": 3},
    },
    equal="steps",
    world="last_letter",
    seeds=(200, 201, 202, 203, 204),
    tuned_on=(0, 1),
    tuned="For all arms together: the learning rate (0.0001 to 0.001), beta (0.1 to 3), the steps (90 to 240), the "
    "beginning (right on 30%, 40%, 60%), and the world (another one asked for the largest of four numbers).",
    shows="What further pairs, their order and the renewed reference add, where a pair's gap is how hard it is.",
    omits="Answers of some length, and ratings by people or by a large model.",
    systems=("curry-dpo",),
)
