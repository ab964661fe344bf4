"""The doctor's check of what a teacher of tokens has to say: more than a guess, the student and a single token."""

import math
from collections.abc import Iterator

import torch

from didact.experiment.checking import Check
from didact.experiment.material import Run
from didact.learners.causal import CausalLearner
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import select_tokens
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import mean_nll, model_of, same_tokens
from didact.parts.part import Part
from didact.rollouts import Writer
from didact.types import Batch, Questions, States

LOOKED_AT, TRIED = 1_000, 16
"""Training questions among which those with a completion are looked for, and how many teacher and student are asked."""
GUESS = 0.95
"""The share of the logarithm of the vocabulary from which a teacher only guesses."""
SHARP = 0.01
"""Nats of entropy per token below which a teacher gives one token all the probability."""
AHEAD = 0.1
"""Nats per token by which the student may know the completions better."""
SAME = 1e-6
"""Nats per token below which student and teacher say the same."""


def checks(run: Run[QuestionData]) -> Iterator[Check]:
    """Warn of teachers that were never trained, know less than the student, are the student, or tell one token."""
    student: CausalLearner = run.student.model
    known = [number for number, question in enumerate(run.data.train[:LOOKED_AT]) if question.answered][:TRIED]
    if not known or run.student.warm_starts:
        return
    asked = run.data.train.select(known)
    for part in run.teachers:
        teacher = model_of(part.model)
        if teacher is not None and not (part.warm_starts or part.control):
            yield from _teacher(run, part, student, teacher, asked)


def _teacher(
    run: Run[QuestionData], part: Part, student: CausalLearner, teacher: CausalLearner, asked: Questions
) -> Iterator[Check]:
    theirs, mine = (_calmly(model, asked) for model in (teacher, student))
    guess = math.log(teacher.head.vocabulary)
    words = f"{part.spec} gives {theirs:.3g} nats per token to the completions of the data, and the student {mine:.3g}"
    yield _sharpness(run, teacher, asked)
    if theirs > GUESS * guess:
        advice = f"; {guess:.3g} is what a guess gets, and it is no better than a guess. Give one that was taught this"
        yield Check("warn", "teacher", f"{words}{advice}.")
    elif same_tokens(run) and _apart(run, student, teacher, asked) < SAME:
        advice = " says what the student says already, so that it teaches nothing; give another teacher"
        yield Check("warn", "teacher", f"{part.spec}{advice}.")
    elif theirs > mine + AHEAD:
        advice = ": the student already knows them better. Give a teacher that knows more, or other data"
        yield Check("warn", "teacher", f"{words}{advice}.")
    else:
        yield Check("pass", "teacher", f"{words}.")


def _calmly(model: CausalLearner, asked: Questions) -> float:
    training = model.training
    model.eval()
    found = mean_nll(model, asked)
    model.train(training)
    return found


@torch.no_grad()
def _apart(run: Run[QuestionData], student: CausalLearner, teacher: CausalLearner, asked: Questions) -> float:
    """The divergence of student and teacher, in nats per token."""
    batch, training = _batch(run, student, asked), student.training
    student.eval()
    rows, other = select_tokens(student(batch), batch), select_tokens(teacher(batch), batch)
    student.train(training)
    signal = States(hidden=other.hidden, head=other.head)
    return abs(float(token_divergence(rows.hidden, rows.head, signal, kind="jsd").mean()))


@torch.no_grad()
def _sharpness(run: Run[QuestionData], teacher: CausalLearner, asked: Questions) -> Check:
    """The entropy of the teacher's tokens."""
    batch = _batch(run, teacher, asked)
    rows = select_tokens(teacher(batch), batch)
    found = rows.head(rows.hidden).double().log_softmax(-1)
    entropy = float(-(found.exp() * found).nansum(-1).mean())
    words = f"The teacher's tokens have {entropy:.2g} nats of entropy"
    if entropy > SHARP:
        return Check("pass", "teacher's targets", f"{words}.")
    return Check(
        "warn",
        "teacher's targets",
        f"{words}: one token has all the probability, as at temperature 0, so that distillation is fine-tuning on its "
        "likeliest words. Give its logits without a temperature, or another teacher.",
    )


def _batch(run: Run[QuestionData], model: CausalLearner, asked: Questions) -> Batch:
    texts = [question.completion or "" for question in asked]
    return Writer(model, run.config.sampling).encode(list(asked), texts).batch.to(model.device)
