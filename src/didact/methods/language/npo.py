"""Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning (Zhang, Lin, Bai & Mei 2024).

Forgets completions: of those whose column `forget` is true (and of rejected ones), the loss is that of DPO without the
preferred side. Gradient ascent pushes an unlikely completion down for ever and ruins the model; here each completion
loses its weight as it becomes unlikely relative to the frozen initial model. All other completions are fitted, so that
what is near is retained.

Departures: none. Compared with https://github.com/licong-lin/negative-preference-optimization (TOFU/dataloader.py,
`npo_grad_diff`): the loss of sums over tokens, its factor 2 / beta, and the mean over tokens of what is retained agree.
The authors draw one retained completion for each to forget; here a batch has both as they come.

Formula: `tests/methods/test_language_forgetting.py::test_the_loss_and_its_gradient_are_those_of_a_transcription`.

On `strings:forgetting`, it is undecided against a tuned "gradient ascent" (+31.2 points, +21.0 to +41.3), better than
"retain alone" by 22.3 (19.8 to 24.7), and better than itself without its mechanism ("gradient ascent, same settings")
by 24.6 (15.7 to 33.5); gradient ascent is untrained: it is no better than untaught.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import DataError, check_range
from didact.losses.policy.outputs import sequence_log_probs
from didact.losses.policy.preferences import npo_loss
from didact.losses.tokens.rows import metric_term, select_tokens
from didact.losses.tokens.vocabulary import completion_cross_entropy
from didact.rollouts import completion_of, score_completions
from didact.teachers import snapshot
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `npo`."""

    beta: float = 0.1  # how soon a completion is forgotten enough; near 0 is gradient ascent
    forget: float = 1.0  # weight of completions to forget
    retain: float = 1.0  # weight of the others, which are fitted

    def __post_init__(self) -> None:
        check_range("beta", self.beta, above=0.0)
        check_range("forget", self.forget, at_least=0.0)
        check_range("retain", self.retain, at_least=0.0)


class NPO(Method):
    """Forget some completions, and retain the others.

    Args:
        config: the options.
        learner: a causal language model that knows them.
        questions: the training prompts, each with a `completion`; some with a `forget` of true in their data, or with a
            `rejected` one.

    Raises:
        DataError: there is nothing to forget.
    """

    feed = RolloutFeed(rate=0.5, completions=True)

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        self.config, self.learner = config, learner
        self.reference = snapshot(learner)
        if not any(question.data.get("forget") is True or question.rejected for question in questions):
            raise DataError(
                "No question has a forget of true or a rejected completion, so that npo has nothing to forget; give a "
                "column forget, true for what is to be forgotten."
            )

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """The completions with `forget`, 1 for those to forget, and their `reference` log-probability; [B] each."""
        rows = [(question, completion_of(question), question.data.get("forget") is True) for question in questions]
        rows += [(question, question.rejected, True) for question in questions if question.rejected]
        writer.read(questions)
        batch = writer.encode([row[0] for row in rows], [row[1] for row in rows]).batch
        forget = torch.tensor([float(row[2]) for row in rows])
        return Batch({**batch, "forget": forget, "reference": score_completions(self.reference.learner, batch)})

    def loss(self, batch: Batch) -> Terms:
        """The terms `forget`, over completions, and `retain`, over tokens; `ratio` is that of what is forgotten."""
        output, forget = self.learner(batch), batch["forget"]
        ratio = sequence_log_probs(output, batch) - batch["reference"]
        losses = npo_loss(ratio, beta=self.config.beta)
        rows = select_tokens(output, batch)
        retained = completion_cross_entropy(rows, rows.weights(rows.spread(1.0 - forget)))
        each = losses.masked_fill(forget == 0, float("nan"))
        return Terms(
            forget=Term((losses * forget).sum(), forget.sum(), self.config.forget, rows=each),
            retain=retained.times(self.config.retain),
            ratio=metric_term(ratio, forget),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The completions to forget, and the tokens of the others."""
        forget = batch["forget"]
        tokens = batch["completion_mask"][:, 1:].sum(1)
        return {"forget": forget.sum(), "retain": (tokens * (1.0 - forget)).sum(), "ratio": forget.sum()}


CLAIM = Claim(
    statement="A model that is to forget one of four rules keeps more of the others by negative preferences than by "
    "gradient ascent.",
    arms={
        "npo": "npo",
        "gradient ascent": {"method": "npo", "beta": 0.001},
        "gradient ascent, same settings": {"method": "npo", "beta": 0.001},
        "retain alone": {"method": "npo", "forget": 0.0, "lr": 1e-3},
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="npo",
    baseline="gradient ascent",
    cheap="retain alone",
    ablation="gradient ascent, same settings",
    untaught="untaught",
    settings={
        "student": "warm:65%:decoder:2x64",
        "sampling": "max_new_tokens=14",
        "steps": 60,
        "batch_size": 64,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    world="strings:forgetting",
    smallest_effect=0.02,
    search={
        "npo": {"lr": (3e-4, 1e-3), "beta": (0.1, 0.5)},
        "gradient ascent": {"lr": (3e-5, 1e-4, 3e-4, 1e-3)},
    },
    seeds=(100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111),
    tuned_on=(0, 1, 2),
    shows="Forgetting and retaining at once: the share of completions that are forgotten (of one rule) or right (of "
    "three others), at as many steps.",
    omits="Facts about people, and the probability of what was forgotten, which greedy completions do not show.",
    systems=("negative-preference-optimization",),
)
