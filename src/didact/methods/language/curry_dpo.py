"""Curry-DPO: Enhancing Alignment using Curriculum Learning & Ranked Preferences (Pattnaik et al. 2024).

Of the rated answers to a prompt, the best is paired with each of the others. The loss is that of `dpo`, in stages:
first on each prompt's easiest pair, whose ratings are furthest apart, last on its hardest. The reference is renewed
with each stage. The data give answers in `rated`, as in `[{"text": "12", "rating": 5}, {"text": "1", "rating": 2}]`.

Departures: the stages, as many as the largest number of pairs of any prompt, share one budget, in equal parts, and one
optimizer with its schedule; a prompt with fewer pairs spends more stages on each. Answers rated equal to the best make
no pair. Compared with no code: the authors published their pairs of answers alone.

Formula: `tests/methods/test_language_ranked.py::test_curry_dpo_is_its_transcription`.

On `last_letter`, it is equivalent to a tuned `dpo` (-0.3 points, -1.6 to +1.0), worse than `sft` by 28.1 (22.1 to
35.4), and worse than itself without its mechanism ("shuffled") by 3.9 (0.8 to 6.9).
"""

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
from didact.types.frozen import copy_trained, load_module_state, module_state


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `curry_dpo`."""

    beta: float = 0.1  # weight of the divergence from the reference; higher stays nearer
    order: Literal["easy_first", "hard_first", "shuffled"] = "easy_first"  # order of each prompt's pairs
    renew: bool = True  # renew the reference at each stage, not only at the start

    def __post_init__(self) -> None:
        check_range("beta", self.beta, above=0.0)
        check_choice("order", self.order, ("easy_first", "hard_first", "shuffled"))


class _Stages(LanguageTeacher):
    """The current stage, from 0, and the reference, a copy of the learner; `Stateful`."""

    def __init__(self, learner: Any, count: int) -> None:
        super().__init__(copy_trained(learner))
        self.number, self.total = 0, count

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "weights": module_state(self.learner)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.number = state["number"]
        load_module_state(self.learner, state["weights"])


class CurryDPO(Method):
    """Learn ranked preferences in stages, from easy pairs to hard ones.

    Args:
        config: the options.
        learner: a causal language model; ConfigError for an answer that does not fit into its context.
        questions: the training prompts, with `rated` answers; DataError for a prompt without two of different rating.
    """

    feed = RolloutFeed(rate=0.05)

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        self.config, self.learner = config, learner
        self.pairs = RatedPairs.from_questions(questions, learner)
        self.stages = _Stages(learner, self.pairs.max_pairs)

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """A pair of the current stage for each prompt: its best answer, and the other as the view `rejected`."""
        if self.config.order == "shuffled":
            ids = torch.tensor([question.id for question in questions])
            shares = hashing.uniform(ids, writer.seed, f"pairs/{writer.round}").tolist()
            return self.pairs.batch(writer, questions, shares)
        # The middle of the stage, so that rounding selects no neighbouring pair.
        share = (self.stages.number + 0.5) / self.stages.total
        share = share if self.config.order == "easy_first" else 1.0 - share
        return self.pairs.batch(writer, questions, [share] * len(questions))

    def loss(self, batch: Batch) -> Terms:
        """The term `preference`; `right` is the share of correctly ordered pairs, `gap` the rating gap."""
        other = batch.view("rejected")
        mine = [sequence_log_probs(self.learner(one), one) for one in (batch, other)]
        with torch.no_grad():
            theirs = [sequence_log_probs(self.stages.learner(one), one) for one in (batch, other)]
        losses = dpo_loss(*mine, *theirs, beta=self.config.beta)
        right = metric_term((mine[0] - theirs[0] > mine[1] - theirs[1]).float())
        preference, gap = Term(losses.sum(), len(losses), rows=losses), metric_term(batch["gap"])
        return Terms(preference=preference, right=right, gap=gap)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The pairs."""
        return dict.fromkeys(("preference", "right", "gap"), batch.size)

    def after_step(self) -> None:
        """Start the next stage when it is due."""
        number = min(int(self.fraction * self.stages.total), self.stages.total - 1)
        if number > self.stages.number:
            self.stages.number = number
            if self.config.renew:
                load_module_state(self.stages.learner, module_state(self.learner))


CLAIM = Claim(
    statement="A model that learns from three pairs per prompt, in stages from easy to hard, gives the best answer "
    "more often than one that learns from the best answer and the worst alone.",
    arms={
        "curry_dpo": "curry_dpo",
        "dpo": "dpo",
        "shuffled": {"method": "curry_dpo", "order": "shuffled"},
        "sft": {"method": "sft", "lr": 0.003},
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="curry_dpo",
    baseline="dpo",
    cheap="sft",
    ablation="shuffled",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "curry_dpo": {"beta": (0.1, 0.5), "lr": (0.0003, 0.001, 0.003)},
        "dpo": {"beta": (0.1, 0.5), "lr": (0.0003, 0.001, 0.003)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319),
    settings={
        "student": "warm:30%:decoder:1x32",
        "batch_size": 32,
        "steps": 50,
        "sampling": {"max_new_tokens": 2},
        "evaluate_every": 1000,
    },
    equal="steps",
    world="last_letter",
    shows="What further pairs and their order add, where a pair's gap is how hard it is.",
    omits="Answers of some length, and ratings by people or by a large model.",
    systems=("curry-dpo",),
)
