"""On Teacher Hacking in Language Model Distillation (Tiapkin et al. 2025).

A study of a chain: an oracle, a teacher trained on the oracle's completions, and a student distilled from the teacher.
The student matches the teacher's next-token distributions on completions that the teacher sampled once (`offline`), or
that either samples anew in each step. Two distances are tracked: `proxy`, to the teacher, and `golden`, to the oracle.
If the first falls and the second rises, the student learns its teacher's mistakes; see the monitor `teacher_hacking`.

The oracle is the source of the data: `golden` is the negative log-likelihood, in nats per token, of completions in a
column of that name that nobody learns from; it equals KL(oracle || student) plus a constant. Without such a column, the
data's completions replace it; they show less if the teacher was trained on them.

Departures: the distance to the teacher is measured on the completions that the student learns from, and that to the
oracle on the oracle's, both as forward KL by default; the decoders are small, and the oracle of the claim is a Markov
chain. Compared with no code: none is public.

Formula: `tests/methods/test_language_hacking.py::test_the_proxy_is_its_transcription`.

On `markov`, it is better than a tuned "offline" by 0.54 nats (0.43 to 0.65), and undecided against "offline, all
prompts" (+0.01, -0.07 to +0.08).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_choice, check_range
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import select_tokens, token_counts
from didact.losses.tokens.vocabulary import completion_cross_entropy
from didact.rollouts import CompletionCache, oracle_completions
from didact.teachers import LanguageTeacher
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Term, Terms

_INPUTS = ("input_ids", "attention_mask", "completion_mask")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `teacher_hacking`."""

    answers: Literal["offline", "teacher", "student"] = "offline"  # sampled once by the teacher, or anew by either
    divergence: Literal["forward", "reverse", "jsd"] = "forward"  # from the teacher, at each token
    prompts: int = 0  # number of prompts that the student learns from; 0 is all

    def __post_init__(self) -> None:
        check_choice("answers", self.answers, ("offline", "teacher", "student"))
        check_choice("divergence", self.divergence, ("forward", "reverse", "jsd"))
        check_range("prompts", self.prompts, at_least=0)


class TeacherHacking(Method):
    """Distil a teacher, and track the distance to the oracle that the teacher learned from.

    Args:
        config: the options.
        learner: the student, a causal language model; ConfigError for an answer that does not fit into its context.
        teacher: a language model with the same tokenizer.
        questions: the training prompts, each with a `golden` answer in its `data` or a completion (or DataError).
    """

    feed = RolloutFeed()

    def __init__(
        self, config: Config, learner: LanguageLearner, teacher: LanguageTeacher, questions: Questions
    ) -> None:
        self.config, self.learner, self.teacher = config, learner, teacher
        self.golden = oracle_completions(questions, learner)
        self.kept = CompletionCache()
        few = min(config.prompts or len(questions), len(questions))
        self.asked = {question.id: questions[place % few] for place, question in enumerate(questions)}

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Completions to learn from, and the oracle's as the view `golden`."""
        source, teacher = self.config.answers, self.teacher.learner
        questions = [self.asked[question.id] for question in questions]
        if source == "offline":
            batch = self.kept.batch(writer, questions, teacher)
        else:
            batch = writer.write(questions, by=teacher if source == "teacher" else None, verify=False).batch
        samples = batch.size // len(questions)
        asked = [question for question in questions for _ in range(samples)]
        golden = writer.encode(asked, [self.golden[question.id] for question in asked]).batch
        return Batch({**batch, **{f"golden.{name}": golden[name] for name in _INPUTS}})

    def loss(self, batch: Batch) -> Terms:
        """The term `proxy`, averaged over tokens; `golden` is a metric."""
        rows, signal = select_tokens(self.learner(batch), batch), self.teacher.signal(batch)
        proxy = token_divergence(
            rows.hidden,
            rows.head,
            rows.pick_signal(signal),
            kind=self.config.divergence,
            weight=rows.weight,
        )
        return Terms(proxy=proxy, golden=self._golden(batch.view("golden")))

    @torch.no_grad()
    def _golden(self, batch: Batch) -> Term:
        rows = select_tokens(self.learner(batch), batch)
        return completion_cross_entropy(rows).times(0.0)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The tokens of the completions that are learned, and of the oracle's."""
        return {"proxy": token_counts(batch)["token"], "golden": token_counts(batch.view("golden"))["token"]}


CLAIM = Claim(
    statement="A student whose teacher samples new completions in each step ends nearer to the oracle than one that is "
    "distilled from the same teacher on completions that were sampled once.",
    arms={
        "new answers of the teacher": {"method": "teacher_hacking", "answers": "teacher", "prompts": 8},
        "offline": {"method": "teacher_hacking", "answers": "offline", "prompts": 8},
        "offline, all prompts": {"method": "teacher_hacking", "answers": "offline"},
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="new answers of the teacher",
    baseline="offline",
    cheap="offline, all prompts",
    ablation="offline",
    untaught="untaught",
    smallest_effect=0.02,
    search={
        "new answers of the teacher": {"lr": (0.001, 0.003, 0.01)},
        "offline": {"lr": (0.001, 0.003, 0.01)},
        "offline, all prompts": {"lr": (0.003, 0.01)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311),
    settings={
        "student": "decoder:1x32",
        "teacher": "warm:300:decoder:1x64",
        "batch_size": 32,
        "steps": 150,
        "warmup": 0.1,
        "sampling": {"max_new_tokens": 21},
        "evaluate_every": 1000,
    },
    equal="steps",
    world="markov",
    metric="nll",
    shows="The value of the same few prompts with fixed and with new completions; and that of more prompts. The "
    "distance to the oracle is the negative log-likelihood of its own texts, minus its entropy.",
    omits="Models of natural language, and an oracle that is one of them.",
    systems=("on-teacher-hacking-in-language-model",),
)
