"""On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes (Agarwal et al. 2024, GKD).

The student answers the prompts itself, and at each token of its own answer is taught the teacher's distribution, by a
generalised Jensen-Shannon divergence or one of the two KLs; nothing is learned from having sampled the answer. A share
of the questions keeps the answers of the data instead.

Departures: which questions the student answers itself is drawn for each question, where the paper draws for each batch;
`scaled_jsd` is the paper's divergence divided by beta (1 - beta), whose size does not collapse at the ends.

Its claim is not replicated on rewriting: with the forward and the reverse divergence and three learning rates, students
came nearer to the teacher in what they write on most seeds, but not on all, and were right less often than those that
were taught on the data's answers. A small teacher that has seen right answers alone knows little of how to go on after
a mistake, and short answers leave little room for the errors that add up in the paper's long ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.overlap import topk_overlap
from didact.losses.tokens.rows import CompletionTokens, select_tokens, token_counts
from didact.types import (
    LEAST_COUNT,
    Batch,
    LanguageLearner,
    Method,
    Question,
    RolloutFeed,
    Signal,
    Teacher,
    Term,
    Terms,
)

LIKELIEST = 8
"""How many of the teacher's likeliest tokens are looked for among the student's."""
LOOKED_AT = 256
"""At how many tokens of a batch."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `gkd`."""

    on_policy: float = 1.0  # share of the questions that the student answers itself; the others keep the data's answers
    divergence: Literal["forward", "reverse", "jsd", "scaled_jsd"] = "reverse"  # at each token; jsd as in the paper
    beta: float = 0.5  # of the two jsd: near 0 like forward, near 1 like reverse
    softening: float = 1.0  # temperature of both distributions in the loss

    def __post_init__(self) -> None:
        check_range("on_policy", self.on_policy, at_least=0.0, at_most=1.0)
        check_range("beta", self.beta, at_least=0.0, at_most=1.0)
        check_range("softening", self.softening, above=0.0)


class GKD(Method):
    """Teach a student on its own answers.

    Args:
        config: the options.
        learner: a causal language model.
        teacher: one with the same tokenizer.
    """

    feed = RolloutFeed()

    def __init__(self, config: Config, learner: LanguageLearner, teacher: Teacher) -> None:
        self.config = config
        self.feed = replace(self.feed, completions=config.on_policy < 1.0)
        self.learner = learner
        self.teacher = teacher

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Answers of the student, and of the data."""
        return writer.mix(questions, self.config.on_policy).batch

    def loss(self, batch: Batch) -> Terms:
        """The term `teacher`, averaged over tokens; `overlap` is for looking at."""
        config = self.config
        rows = select_tokens(self.learner(batch), batch)
        said = rows.pick_signal(self.teacher.signal(batch))
        divergence = token_divergence(
            rows.hidden,
            rows.head,
            said,
            kind=config.divergence,
            beta=config.beta,
            temperature=config.softening,
            weight=rows.weight,
        )
        return Terms(teacher=rows.per_example(divergence), overlap=_overlap(rows, said))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The tokens of the answers."""
        return dict.fromkeys(("teacher", "overlap"), token_counts(batch)["token"])


def _overlap(rows: CompletionTokens, said: Signal) -> Term:
    """How much of what the teacher holds likely the student does, at evenly spaced tokens that stand for all."""
    tokens = len(rows.targets)
    some = slice(None, None, -(-tokens // LOOKED_AT))
    found = topk_overlap(rows.hidden[some], rows.head, said.rows(some), LIKELIEST)
    if rows.weight is None:
        return Term(found.mean() * tokens, tokens, 0.0)
    weight, count = rows.weight[some], rows.weight.sum()
    return Term((found * weight).sum() / weight.sum().clamp_min(LEAST_COUNT) * count, count, 0.0)


CLAIM = Claim(
    statement="In what it answers itself, a student that was taught on answers of its own is nearer to its teacher "
    "than one that was taught on the answers of the data.",
    arms={
        "gkd": {"method": "gkd", "divergence": "forward"},
        "the data's answers": {"method": "gkd", "divergence": "forward", "on_policy": 0.0},
    },
    method="gkd",
    baseline="the data's answers",
    cheap="the data's answers",
    settings={
        "student": "warm:300:decoder:2x64",
        "teacher": "warm:600:decoder:2x64",
        "batch_size": 64,
        "steps": 100,
        "lr": 0.001,
        "warmup": 0.3,
        "sampling": {"max_new_tokens": 14},
    },
    equal="steps",
    world="rewriting",
    metric="teacher_kl",
    seeds=(100, 101, 102, 103, 104),
    tuned_on=(0,),
    tuned="The learning rate (0.0003, 0.001, 0.003) of all arms together; the divergence (forward, reverse); the world "
    "(addition, addition:scratchpad, rewriting), as the difference was in favour of the data's answers in the second.",
    shows="What is taught where the student goes when it writes, which the data's answers don't show.",
    omits="That answers become better by it, as in the paper; long answers and a teacher that has read much more.",
    systems=("on-policy-distillation-of-language-models",),
)
