"""On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes (Agarwal et al. 2024, GKD).

The student samples its own completions and, at each of their tokens, learns the teacher's distribution by a generalised
Jensen-Shannon divergence or one of the two KLs. A share of the prompts uses the completions of the data instead.

Departures: whether a prompt is on-policy is drawn for each prompt, where the paper draws for each batch; `scaled_jsd`
is the paper's divergence divided by beta (1 - beta), which does not vanish at the ends. Cheaper estimates are options:
`estimate=top_k` compares the student's likeliest tokens and the tail (Li et al. 2026 leave out the tail), and
`estimate=sampled` the sampled token alone, by half the squared log-ratio, whose gradient is unbiased where completions
are sampled at temperature 1. Compared with trl/experimental/gkd/gkd_trainer.py of huggingface/trl, as the authors' code
is not public: `jsd`, both KLs and the mean over tokens agree; its defaults are `jsd` and half of the batches on-policy.
Values and gradients: `tests/methods/test_language_teachers.py::test_gkd_is_its_transcription`.

On `choosing`, it is worse than a tuned "the data's answers" by 2.6 points (0.4 to 15.4), and undecided against `sft`
(+7.1, -6.4 to +10.8); a single run does not show that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_choice, check_range
from didact.losses.policy.surrogate import k2_kl
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.overlap import METRICS, at_likeliest, overlap_terms
from didact.losses.tokens.rows import CompletionTokens, select_tokens, token_counts
from didact.losses.tokens.vocabulary import signal_log_probs, token_log_probs
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Signal, Teacher, Term, Terms, TopK


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `gkd`."""

    on_policy: float = 1.0  # share of prompts with completions of the student; the others use the data's
    divergence: Literal["forward", "reverse", "jsd", "scaled_jsd"] = "reverse"  # at each token; jsd as in the paper
    beta: float = 0.5  # of the two jsd: near 0 like forward, near 1 like reverse
    softening: float = 1.0  # temperature of both distributions in the loss
    estimate: Literal["whole", "top_k", "sampled"] = "whole"  # divergence over: all ids, the student's likeliest, one
    top_k: int = 32  # of top_k: how many ids; all others together are one more

    def __post_init__(self) -> None:
        check_choice("estimate", self.estimate, ("whole", "top_k", "sampled"))
        check_range("top_k", self.top_k, at_least=1)
        check_range("on_policy", self.on_policy, at_least=0.0, at_most=1.0)
        check_range("beta", self.beta, at_least=0.0, at_most=1.0)
        check_range("softening", self.softening, above=0.0)
        if self.estimate != "whole" and self.softening != 1.0:
            raise ConfigError(f"softening is {self.softening:g}, but estimate={self.estimate} needs 1.")
        if self.estimate == "sampled" and (self.divergence != "reverse" or self.on_policy < 1.0):
            raise ConfigError(
                f"estimate is 'sampled', but divergence is {self.divergence!r} and on_policy {self.on_policy:g}; from "
                "tokens that the student samples, only divergence=reverse with on_policy=1 can be estimated."
            )


class GKD(Method):
    """Distil a teacher on the student's own completions.

    Args:
        config: the options.
        learner: a causal language model.
        teacher: a language model with the same tokenizer.
    """

    feed = RolloutFeed(off_policy="free")

    def __init__(self, config: Config, learner: LanguageLearner, teacher: Teacher) -> None:
        self.config = config
        weighted = "weighted" if config.estimate == "sampled" else "free"
        self.feed = replace(self.feed, completions=config.on_policy < 1.0, off_policy=weighted)
        self.learner = learner
        self.teacher = teacher

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Completions of the student, and of the data."""
        return writer.mix(questions, self.config.on_policy).batch

    def loss(self, batch: Batch) -> Terms:
        """The term `teacher`, averaged over tokens; the others are metrics."""
        rows = select_tokens(self.learner(batch), batch)
        signal = rows.pick_signal(self.teacher.signal(batch))
        return Terms(teacher=self._term(rows, signal, batch), **overlap_terms(rows, signal))

    def _term(self, rows: CompletionTokens, signal: Signal, batch: Batch) -> Term:
        """The divergence from the teacher."""
        config = self.config
        if config.estimate == "sampled":
            mine = token_log_probs(rows.hidden, rows.head, rows.targets)[0]
            theirs = signal_log_probs(signal, rows.targets, vocabulary=rows.head.vocabulary)
            values = k2_kl(mine, theirs)
            return rows.term(values * rows.pick(batch["importance"]) if "importance" in batch else values)
        if config.estimate == "top_k" and not isinstance(signal, TopK):
            signal = at_likeliest(rows.hidden, rows.head, signal, config.top_k)
        divergence = token_divergence(
            rows.hidden,
            rows.head,
            signal,
            kind=config.divergence,
            beta=config.beta,
            temperature=config.softening,
            weight=rows.weight,
        )
        return rows.per_example(divergence)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The tokens of the completions."""
        return dict.fromkeys(("teacher", *METRICS), token_counts(batch)["token"])


CLAIM = Claim(
    statement="A student distilled on its own completions is right more often than one distilled on those of the data.",
    arms={
        "gkd": "gkd",
        "the data's answers": {"method": "gkd", "on_policy": 0.0},
        "sft": "sft",
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="gkd",
    baseline="the data's answers",
    cheap="sft",
    ablation="the data's answers",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "gkd": {"divergence": ("forward", "reverse"), "lr": (0.003, 0.01)},
        "the data's answers": {"divergence": ("forward", "reverse"), "lr": (0.003, 0.01)},
        "sft": {"lr": (0.001, 0.003, 0.01)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319),
    settings={
        "student": "warm:20%:decoder:1x32",
        "teacher": "warm:400:decoder:1x64",
        "batch_size": 32,
        "steps": 80,
        "warmup": 0.1,
        "sampling": {"max_new_tokens": 4},
        "evaluate_every": 1000,
    },
    equal="steps",
    world="choosing",
    shows="What distillation on the student's own completions adds, which the data's completions do not cover.",
    omits="Long completions, in which errors add up, and a teacher trained on much more text.",
    systems=("on-policy-distillation-of-language-models",),
)
