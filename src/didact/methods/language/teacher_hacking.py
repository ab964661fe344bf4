"""On Teacher Hacking in Language Model Distillation (Tiapkin et al. 2025).

A study of a chain: an oracle, a teacher that learned from the oracle's answers, and a student that learns from the
teacher. The student is pulled towards the teacher's next-token distributions at answers that the teacher wrote once
(`offline`), or that teacher or student write anew in each step. Beside the distance to the teacher (`proxy`) stands the
distance to the oracle (`golden`): where the one falls while the other rises, the student learns its teacher's mistakes.
The monitor `teacher_hacking` looks for that.

The oracle is whatever wrote the data: `golden` is the surprise, in nats a token, at answers that stand in a column of
that name and that nobody learns from, which is KL(oracle || student) plus a constant. Where there is no such column,
the completions stand for it; they say less where the teacher was taught on them.

Departures: the distance to the teacher is measured where the student learns, and that to the oracle at the oracle's
answers, both as forward KL by default; the decoders are small, and the oracle of the claim is a Markov chain.

Few prompts with answers that stay leave the student far from the oracle, as the paper has it, and more prompts help as
much as new answers. The golden figure itself turned back by 2% to 3% only in pilots, while the proxy fell to a tenth.
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
from didact.rollouts import AnswerCache, oracle_answers
from didact.teachers import LanguageTeacher
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Term, Terms

_INPUTS = ("input_ids", "attention_mask", "completion_mask")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `teacher_hacking`."""

    answers: Literal["offline", "teacher", "student"] = "offline"  # written once by the teacher, or anew by either
    divergence: Literal["forward", "reverse", "jsd"] = "forward"  # of the student from the teacher, at each token
    prompts: int = 0  # how many of the questions the student learns from; 0 is all

    def __post_init__(self) -> None:
        check_choice("answers", self.answers, ("offline", "teacher", "student"))
        check_choice("divergence", self.divergence, ("forward", "reverse", "jsd"))
        check_range("prompts", self.prompts, at_least=0)


class TeacherHacking(Method):
    """Follow a teacher, and watch the distance to what it learned from.

    Args:
        config: the options.
        learner: the student, a causal language model.
        teacher: a language model with the same tokenizer.
        questions: those of the training, each with a `golden` answer in its `data` or a completion.

    Raises:
        DataError: a question with neither.
        ConfigError: an answer that the student cannot read as a whole.
    """

    feed = RolloutFeed()

    def __init__(
        self, config: Config, learner: LanguageLearner, teacher: LanguageTeacher, questions: Questions
    ) -> None:
        self.config, self.learner, self.teacher = config, learner, teacher
        self.golden = oracle_answers(questions, learner)
        self.kept = AnswerCache()
        few = min(config.prompts or len(questions), len(questions))
        self.asked = {question.id: questions[place % few] for place, question in enumerate(questions)}

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Answers to learn from, and the oracle's as the view `golden`."""
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
        """The term `proxy`, averaged over tokens; `golden` is for looking at."""
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
        """The tokens of the answers that are learned, and of those that are looked at."""
        return {"proxy": token_counts(batch)["token"], "golden": token_counts(batch.view("golden"))["token"]}


CLAIM = Claim(
    statement="A student whose teacher writes new answers in each step ends nearer to the oracle than one that follows "
    "the same teacher on answers that were written once.",
    arms={
        "new answers of the teacher": {"method": "teacher_hacking", "answers": "teacher", "prompts": 8},
        "the student's own": {"method": "teacher_hacking", "answers": "student", "prompts": 8},
        "offline": {"method": "teacher_hacking", "answers": "offline", "prompts": 8},
        "offline, all prompts": {"method": "teacher_hacking", "answers": "offline"},
    },
    method="new answers of the teacher",
    baseline="offline",
    cheap="offline, all prompts",
    settings={
        "student": "warm:200:decoder:1x64",
        "teacher": "warm:400:decoder:1x64",
        "batch_size": 32,
        "steps": 200,
        "lr": 0.003,
        "sampling": {"max_new_tokens": 21},
    },
    equal="steps",
    world="markov",
    metric="nll",
    seeds=(200, 201, 202, 203, 204),
    tuned_on=(0, 1),
    tuned="For all arms together: the student's beginning (none, 150 or 200 steps on the data), the prompts (8, 16, "
    "32), the learning rate (0.002, 0.003) and the steps (200 to 400).",
    shows="What the same few prompts are worth with answers that stay and with answers that do not; and what more "
    "prompts are worth. The distance to the oracle is the surprise at its own texts, less 1.42 nats a token, its "
    "entropy.",
    omits="Models of language, and an oracle that is one of them.",
    systems=("on-teacher-hacking-in-language-model",),
)
