"""Completions of teachers: which are correct, and which a learner comprehends.

Axis letters: K completions, T positions of prompt and completion.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from didact.learners.tokenizers import Tokens
from didact.losses.policy.outputs import mean_token_probs
from didact.rollouts.layout import Rollouts
from didact.rollouts.writer import Writer
from didact.types import Batch, Question

_ROWS = 64
"""The number of completions that a learner reads at once."""


def teacher_completions(
    writer: Writer, models: Sequence[Any], questions: Sequence[Question]
) -> list[tuple[Question, str]]:
    """One completion of each prompt by each language model, with the question; unfinished ones are left out.

    Args:
        writer: samples from the models.
        models: `CausalLearner`s, with any tokenizers.
        questions: may be empty.
    """
    found = list[tuple[Question, str]]()
    for model in models if questions else ():
        written = writer.write(questions, samples=1, by=model, verify=False)
        ended = zip(written.questions, written.texts, written.batch["finished"].tolist(), strict=True)
        found += [(question, text) for question, text, end in ended if end and text]
    return found


def full_rewards(writer: Writer, questions: Sequence[Question], texts: Sequence[str]) -> dict[int, float]:
    """The completions that are worth learning from.

    Args:
        writer: verifies them.
        questions: B of them.
        texts: a completion of each.

    Returns:
        By position, the rewards of those with a full reward that fit into the learner's context.

    Raises:
        ConfigError: there is no verifier.
    """
    tokenizer, context = writer.learner.tokenizer, writer.learner.context
    lengths = [len(tokenizer.completion(q, text)) for q, text in zip(questions, texts, strict=True)]
    found = writer.rewards(texts, questions, torch.tensor(lengths))
    right = found.value >= 1.0 if found.trust is None else (found.value >= 1.0) & (found.trust > 0)
    whole = [len(tokenizer.prompt(q)) + length <= context for q, length in zip(questions, lengths, strict=True)]
    return {place: float(found.value[place]) for place in right.nonzero()[:, 0].tolist() if whole[place]}


def accepted_completions(writer: Writer, answers: Sequence[tuple[Question, str]]) -> Rollouts | None:
    """The completions with a full reward that fit into the learner's context, without duplicates.

    Args:
        writer: encodes and verifies them.
        answers: questions with completions as text.

    Returns:
        Rollouts with `reward` [K] at least 1; None if there are none.
    """
    once = {(question.id, text): question for question, text in answers}
    if not once:
        return None
    questions, texts = tuple(once.values()), [text for _, text in once]
    rewards = full_rewards(writer, questions, texts)
    if not rewards:
        return None
    found = writer.encode([questions[place] for place in rewards], [texts[place] for place in rewards])
    return Rollouts(Batch({**found.batch, "reward": torch.tensor([*rewards.values()])}), found.texts, found.questions)


def mask_answers(worked: Rollouts, tokenizer: Tokens) -> Batch:
    """Restrict the completion mask to the tokens of the reference answer at its last occurrence.

    Args:
        worked: K completions; if a question's answer is not known or does not occur in the text, all tokens count.
        tokenizer: that of the tokens.

    Returns:
        The same rows with another `completion_mask`, without the end-of-sequence token.
    """
    whole = worked.batch["completion_mask"]
    found = torch.zeros_like(whole)
    # From the end, as a chat template may put something in front.
    ends = (whole.int().argmax(1) + whole.sum(1) - 1).tolist()
    for row, (end, text, question) in enumerate(zip(ends, worked.texts, worked.questions, strict=True)):
        place = text.rfind(question.answer) if question.answer else -1
        low = _bytes(text[: max(place, 0)])
        high = low + _bytes(question.answer if place >= 0 else text)
        meant = [first < high and last > low for first, last in tokenizer.spans(text)]
        found[row, end - len(meant) : end] = torch.tensor(meant)
    return Batch({**worked.batch, "completion_mask": found & whole})


@torch.no_grad()
def comprehension_scores(learner: Any, worked: Rollouts) -> Tensor:
    """The `mean_token_probs` of the reference answer after each rationale, under a learner: float [K].

    Args:
        learner: a `CausalLearner`.
        worked: K completions, in its tokens.
    """
    training = learner.training
    learner.eval()
    parts = mask_answers(worked, learner.tokenizer).to(learner.device).split(_ROWS)
    found = torch.cat([mean_token_probs(learner(part), part) for part in parts]).cpu()
    learner.train(training)
    return found


def _bytes(text: str | None) -> int:
    return len((text or "").encode(errors="replace"))
