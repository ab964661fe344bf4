"""Relations between the models of a run on questions: tokenizers, vocabularies and divergences."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from didact.experiment.material import Run
from didact.learners.causal import CausalLearner
from didact.losses.policy.outputs import sequence_log_probs
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import select_tokens
from didact.losses.tokens.vocabulary import completion_cross_entropy
from didact.materials.questions.data import QuestionData
from didact.rollouts import Sampling, Writer, answer_rows, bounded, read_answers
from didact.types import Batch, Questions, Teacher

ROWS = 64
"""Questions that are tokenized at once."""


def model_of(teacher: object) -> CausalLearner | None:
    """The language model of a teacher; None for other teachers, such as a committee."""
    model = getattr(teacher, "learner", teacher)
    return model if isinstance(model, CausalLearner) else None


def same_tokens(run: Run[QuestionData]) -> bool:
    """Whether the method requires that the teacher's token ids are the student's."""
    return getattr(run.info.method_type.feed, "tokenizers", "same") == "same"


def can_compare(run: Run[QuestionData]) -> bool:
    """Whether there is a teacher whose distributions can be compared with the student's, token by token."""
    # What the student wrote is in no cache, and nobody pays for an evaluation.
    closed = any(getattr(part, "closed", False) for part in run.advisers)
    return run.teacher is not None and same_tokens(run) and not (closed or run.priced)


def other_vocabulary(run: Run[QuestionData]) -> str | None:
    """A sentence if the teacher's head has another number of token ids than the student's."""
    theirs, mine = model_of(run.teacher), run.student.model
    if theirs is None or not same_tokens(run) or mine.head.vocabulary == theirs.head.vocabulary:
        return None
    return (
        f"The student scores {mine.head.vocabulary} token ids and the teacher {theirs.head.vocabulary}: they are "
        f"compared on the first {min(mine.head.vocabulary, theirs.head.vocabulary)}, which both have."
    )


@torch.no_grad()
def mean_nll(model: CausalLearner, questions: Questions) -> float:
    """The mean negative log-likelihood of the data's completions, in nats per token."""
    tokenizer = model.tokenizer
    total = count = 0.0
    for start in range(0, len(questions), ROWS):
        part = questions[start : start + ROWS]
        prompts, answers = map(tokenizer.prompt, part), map(tokenizer.completion, part)
        padded = answer_rows(list(prompts), list(answers), pad=tokenizer.pad)
        for few in bounded(Batch({**padded, "id": torch.arange(len(part))})):
            batch = few.to(model.device)
            term = completion_cross_entropy(select_tokens(model(batch), batch))
            total, count = total + float(term.sum), count + float(term.count)
    return total / max(count, 1.0)


@torch.no_grad()
def pair_accuracy(model: CausalLearner, questions: Questions, score: Callable[[Any, Batch], Tensor]) -> float:
    """The share of pairs whose preferred completion has the higher score.

    Args:
        model: the model.
        questions: each with a completion and a rejected one.
        score: the scores [B] of a batch of completions by the model.
    """
    writer, right = Writer(model, Sampling()), 0.0
    for start in range(0, len(questions), ROWS):
        part = questions[start : start + ROWS]
        sides = ([question.completion or "" for question in part], [question.rejected or "" for question in part])
        both = (bounded(writer.encode(part, texts).batch) for texts in sides)
        better, worse = (torch.cat([score(model, few.to(model.device)) for few in batches]) for batches in both)
        right += float((better > worse).sum())
    return right / max(len(questions), 1)


def step_accuracy(model: CausalLearner, questions: Questions) -> float:
    """The share of the steps of completions that a model of rewards takes for what they are, right or wrong.

    Args:
        model: the model.
        questions: each with `steps`.
    """
    right = count = 0
    for start in range(0, len(questions), ROWS):
        part = questions[start : start + ROWS]
        found = read_answers(model, part, [question.completion or "" for question in part], steps=True)
        for question, rewards in zip(part, found, strict=True):
            pairs = zip(rewards if isinstance(rewards, tuple) else (), question.steps, strict=False)
            told = [(mine > 0.5) == (label > 0.5) for (_, mine), (_, label) in pairs]
            right, count = right + sum(told), count + len(told)
    return right / max(count, 1)


def likelihood(model: CausalLearner, batch: Batch) -> Tensor:
    """The mean log-probability per token of each completion [B]."""
    return sequence_log_probs(model(batch), batch, mean=True)


@torch.no_grad()
def mean_divergence(model: CausalLearner, teacher: Teacher, completions: Batch) -> float:
    """The mean KL(teacher || model) at the tokens of completions, in nats, over the ids of both."""
    total = count = 0.0
    teacher = getattr(teacher, "always", teacher)
    for part in bounded(completions):
        batch = part.to(model.device)
        rows, theirs = select_tokens(model(batch), batch), teacher.signal(batch)
        term = token_divergence(rows.hidden, rows.head, rows.pick_signal(theirs), weight=rows.weight)
        total, count = total + float(term.sum), count + float(term.count)
    return total / max(count, 1.0)
