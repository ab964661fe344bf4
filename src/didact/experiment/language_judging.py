"""How a run of a language model is judged: its answers to test questions, read, scored and compared."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from didact import health, sources
from didact.experiment.judging import Judged, split_leak
from didact.learners import causal
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import select
from didact.losses.tokens.vocabulary import token_cross_entropy
from didact.rollouts import Sampling, Writer
from didact.teachers import LanguageTeacher
from didact.types import Batch, Monitor, Question, Questions, Reward

if TYPE_CHECKING:
    from didact.experiment.language import LanguageReady

STUDENT = "student"
"""The folder in a run's directory that holds the model that the run delivered."""
WATCHED = 128
"""On how many validation questions a learner is scored while it learns."""
SHOWN = 12
"""How many answers to test questions are kept, to be read."""
_ROWS = 64
"""How many sequences are read at once where a model is judged."""


class LanguageJudge:
    """Of a run of a language model.

    What decides is the accuracy of answers where there is a verifier; else the likelihood of the data's answers, where
    every question has one; else how far the learner is from its teacher; else nothing, and then nothing is watched.

    Args:
        ready: the run.
    """

    def __init__(self, ready: "LanguageReady") -> None:
        self.ready = ready
        self.truth = ready.truth
        self.reported = _reported(ready)
        self.metric = next((name for name in _DECIDING if name in self.reported), "")
        self.watched = bool(self.metric) and len(ready.data.validation) > 0

    def figures(self, learner: Any) -> dict[str, float]:
        """On the first validation questions."""
        questions = self.ready.data.validation
        return self.scores(learner, questions.select(range(min(WATCHED, len(questions)))))[0]

    def finished(self) -> Judged:
        """On the test questions."""
        ready = self.ready
        metrics, answers = self.scores(ready.method.delivered, ready.data.test, shown=SHOWN)
        teacher = {} if ready.teacher is None else self.scores(ready.teacher, ready.data.test, taught=False)[0]
        return Judged(
            metrics=metrics,
            validation=self.figures(ready.method.delivered) if self.watched else {},
            teacher=teacher,
            drawn={"answers": answers},
            labels=min(WATCHED, len(ready.data.validation)) if ready.config.select == "best" else 0,
        )

    def notes(self, judged: Judged) -> tuple[str, ...]:
        """On shared questions, answers that could not be judged, and models that know the test."""
        ready, notes = self.ready, list[str]()
        if found := ready.data.duplicates:
            more = f" And {len(found) - 1} more." if len(found) > 1 else ""
            notes.append(f"The splits share questions: {next(iter(found))}{more} The figures flatter the student.")
        notes += leaks(ready)
        if (words := other_vocabulary(ready)) is not None:
            notes.append(words)
        if ready.verifier is not None and (silent := sum(ready.verifier.abstained.values())):
            why = ", ".join(f"{reason} ({count})" for reason, count in ready.verifier.abstained.most_common(3))
            notes.append(f"The verifier could not judge {silent} answers: {why}. They count for nothing.")
        return tuple(notes)

    def monitors(self) -> list[Monitor]:
        """As configured, of those that suit what the method is taught with."""
        return health.configured(self.ready.config.monitors, self.ready.method.feed.material)

    def fingerprint(self) -> str:
        """That of all questions."""
        return sources.fingerprint_questions(self.ready.data.questions)

    def describe(self) -> dict[str, Any]:
        """The questions in figures."""
        return self.ready.data.describe()

    def keep(self, path: Path, learner: Any) -> None:
        """As a directory that `from_pretrained` loads."""
        causal.save_causal(learner, path / STUDENT)

    def scores(
        self, learner: Any, questions: Questions, *, shown: int = 0, taught: bool = True
    ) -> tuple[dict[str, float], list[Any]]:
        """What a model is worth on some questions.

        Args:
            learner: a `CausalLearner`.
            questions: at least one.
            shown: how many answers to give back, to be read.
            taught: whether to compare it with the teacher, where there is one.

        Returns:
            `accuracy` and `reward` of its greedy answers, where they can be judged, `length` in tokens and the share
            that is `finished`; `nll`, in nats a token, of the answers of the data where all have one; `teacher_kl`,
            how far each token of its answers is from the teacher. And answers.
        """
        greedy = dataclasses.replace(self.ready.sampling, temperature=0.0, samples=1)
        training = learner.training
        learner.eval()
        found = Writer(learner, greedy).write(questions, verify=False)
        lengths = found.batch["completion_mask"].sum(1)
        scores = dict[str, float]()
        judged = torch.full((len(questions),), float("nan"))
        if self.ready.verifier is not None:
            given = self.ready.verifier.judge(found.texts, questions, lengths=lengths.tolist())
            judged = torch.where(_known(given), given.value, judged)
            right = given if self.truth is None else self.truth.judge(found.texts, questions)
            right_values = torch.where(_known(right), (right.value >= 1.0).float(), float("nan"))
            # What could not be judged counts neither as right nor as wrong.
            scores |= {"accuracy": float(right_values.nanmean()), "reward": float(judged.nanmean())}
        if all(question.completion for question in questions):
            scores["nll"] = mean_nll(learner, questions)
        if taught and can_compare(self.ready):
            scores["teacher_kl"] = mean_divergence(learner, self.ready.teacher, found.batch)
        scores |= {"length": float(lengths.float().mean()), "finished": float(found.batch["finished"].float().mean())}
        learner.train(training)
        read = zip(questions, found.texts, judged.tolist(), strict=True)
        return scores, [_said(*one) for one in list(read)[:shown]]


def _known(reward: Reward) -> torch.Tensor:
    """Which answers a verifier could judge: bool [B]."""
    return torch.ones_like(reward.value, dtype=torch.bool) if reward.trust is None else reward.trust > 0


def _said(question: Question, text: str, reward: float) -> dict[str, Any]:
    """What the report shows of an answer; a reward that is NaN is none."""
    reward_or_none = reward if reward == reward else None
    return {"prompt": question.prompt, "answer": question.answer, "said": text, "reward": reward_or_none}


_DECIDING = ("accuracy", "nll", "teacher_kl")
"""The figures by which a run can be judged, the best one first."""


def _reported(ready: "LanguageReady") -> tuple[str, ...]:
    """The figures that a run can give."""
    written = all(question.completion for part in (ready.data.validation, ready.data.test) for question in part)
    there = {
        "accuracy": ready.verifier is not None,
        "reward": ready.verifier is not None,
        "nll": written,
        "teacher_kl": can_compare(ready),
    }
    return tuple(name for name in ready.data.metrics if there.get(name, True))


def can_compare(ready: "LanguageReady") -> bool:
    """Whether there is a teacher whose tokens mean what the learner's do."""
    return isinstance(ready.teacher, causal.CausalLearner) and ready.info.method_type.feed.tokenizers == "same"


def other_vocabulary(ready: "LanguageReady") -> str | None:
    """A sentence where the teacher scores more or fewer token ids than the learner."""
    if not can_compare(ready):
        return None
    mine, theirs = ready.method.learner.head.vocabulary, ready.teacher.head.vocabulary  # pyright: ignore[reportOptionalMemberAccess]
    if mine == theirs:
        return None
    return (
        f"The learner scores {mine} token ids and the teacher {theirs}: they are compared on the first "
        f"{min(mine, theirs)}, which both have."
    )


def leaks(ready: "LanguageReady") -> list[str]:
    """Sentences where the learner or the teacher comes from a run on another split of these questions."""
    fingerprint = sources.fingerprint_questions(ready.data.questions)
    found = list[str]()
    for name, spec in (("learner", ready.config.learner), ("teacher", ready.config.teacher)):
        run = Path((spec or "").rpartition("hf:")[2])
        run = run.parent if run.name == STUDENT else run
        if (run / "metrics.jsonl").is_file():
            leak = split_leak(run, ready.config, fingerprint, what=f"The {name} {run}", examples="questions")
            found += [] if leak is None else [leak]
    return found


@torch.no_grad()
def mean_nll(learner: Any, questions: Questions) -> float:
    """The mean negative log-likelihood of the answers of the data, in nats a token."""
    writer = Writer(learner, Sampling())
    total = count = 0.0
    for start in range(0, len(questions), _ROWS):
        part = questions[start : start + _ROWS]
        batch = writer.encode(part, [question.completion or "" for question in part]).batch.to(learner.device)
        rows = select(learner(batch), batch)
        term = token_cross_entropy(rows.hidden, rows.head, rows.targets, rows.weight)
        total, count = total + float(term.sum), count + float(term.count)
    return total / max(count, 1.0)


@torch.no_grad()
def mean_divergence(learner: Any, teacher: Any, attempts: Batch) -> float:
    """The mean KL(teacher || learner) at the tokens of attempts, in nats, over the ids that both have."""
    answers, total, count = LanguageTeacher(teacher), 0.0, 0.0
    for part in attempts.split(_ROWS):
        batch = part.to(learner.device)
        rows, theirs = select(learner(batch), batch), answers.signal(batch)
        term = token_divergence(rows.hidden, rows.head, rows.pick_signal(theirs), weight=rows.weight)
        total, count = total + float(term.sum), count + float(term.count)
    return total / max(count, 1.0)
