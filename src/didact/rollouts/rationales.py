"""Worked answers of several teachers: where they come from, and how they get among a learner's own attempts.

Axis letters: B attempts or worked answers, K of the latter, T positions of prompt and answer.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from didact.errors import DataError
from didact.learners.tokenizers import Tokens
from didact.losses.policy.outputs import comprehension
from didact.rollouts.collecting import Asker, Attempts, beside
from didact.types import Batch, Question

RATIONALES = "rationales"
"""What `Question.data` has them under: a table of texts by the names of the teachers."""
_ROWS = 64
"""How many worked answers a learner reads at once."""


def rationales_of(question: Question) -> dict[str, str]:
    """The worked answers to a question, by the names of their teachers; without those that are empty.

    Raises:
        DataError: they are no table of texts.
    """
    found = question.data.get(RATIONALES) or {}
    if not isinstance(found, Mapping) or not all(isinstance(text, str | None) for text in found.values()):
        raise DataError(
            f"The rationales of the question {question.prompt[:60]!r} are {str(found)[:60]!r}; they must be a table of "
            "texts by the names of those who wrote them, such as {'first': '7+5=12, 30+80=110: 122'}."
        )
    return {str(name): text for name, text in found.items() if text}


def instructed(question: Question, words: str) -> Question:
    """The question with words in front of its prompt, or of a conversation's last message."""
    if not question.messages:
        return dataclasses.replace(question, prompt=words + question.prompt)
    *before, last = question.messages
    return dataclasses.replace(question, messages=(*before, {**last, "content": words + last["content"]}))


def check_fits(learner: Any, question: Question, text: str) -> None:
    """Refuse an answer that a `CausalLearner` could not read as a whole.

    Raises:
        DataError: it is too long behind the question's prompt.
    """
    whole = len(learner.tokenizer.prompt(question)) + len(learner.tokenizer.completion(text))
    if whole > learner.context:
        raise DataError(
            f"The prompt {question.prompt[:60]!r} has {whole} tokens with its answer {text[:30]!r}, but the learner "
            f"reads {learner.context} at most; leave such answers out, or give a learner with a longer context."
        )


def told_by(models: Sequence[Any], questions: Sequence[Question], ask: Asker) -> list[tuple[Question, str]]:
    """What language models answer, each once to each question, with the question; only answers that came to an end.

    Args:
        models: `CausalLearner`s, with whatever tokenizers.
        questions: where there are none, nobody is asked.
        ask: by whom they are asked.
    """
    found = list[tuple[Question, str]]()
    for model in models if questions else ():
        said = ask.attempt(questions, samples=1, by=model, judged=False)
        ended = zip(said.questions, said.texts, said.batch["finished"].tolist(), strict=True)
        found += [(question, text) for question, text, end in ended if end and text]
    return found


def verified(told: Sequence[tuple[Question, str]], ask: Asker) -> Attempts | None:
    """Worked answers as attempts, those that the verifier accepts and the learner can read as a whole, each once.

    Args:
        told: questions with answers in words.
        ask: who lays them out, and has them judged.

    Returns:
        With `reward` [K] at least 1; None where there are none.
    """
    once = {(question.id, text): question for question, text in told}
    if not once:
        return None
    asked, said = tuple(once.values()), [text for _, text in once]
    rewards = earning(ask, asked, said)
    if not rewards:
        return None
    found = ask.written([asked[place] for place in rewards], [said[place] for place in rewards])
    return Attempts(Batch({**found.batch, "reward": torch.tensor([*rewards.values()])}), found.texts, found.questions)


def earning(ask: Asker, questions: Sequence[Question], texts: Sequence[str]) -> dict[int, float]:
    """Which answers are worth learning from.

    Args:
        ask: who has them judged.
        questions: B of them.
        texts: what somebody answered to each.

    Returns:
        The rewards of those that earn a full one, and that the learner can read as a whole behind their question, by
        their places.

    Raises:
        ConfigError: there is no verifier.
    """
    tokenizer, context = ask.learner.tokenizer, ask.learner.context
    lengths = [len(tokenizer.completion(text)) for text in texts]
    verdict = ask.verdict(texts, questions, torch.tensor(lengths))
    right = verdict.value >= 1.0 if verdict.trust is None else (verdict.value >= 1.0) & (verdict.trust > 0)
    whole = [len(tokenizer.prompt(q)) + length <= context for q, length in zip(questions, lengths, strict=True)]
    return {place: float(verdict.value[place]) for place in right.nonzero()[:, 0].tolist() if whole[place]}


def in_place(attempts: Batch, given: Batch) -> Batch:
    """Attempts some of which have given way to answers of others to the same questions.

    Args:
        attempts: B of them, judged; at least as many to each question as there are answers to it.
        given: K answers, with `reward`. Their `log_probs` become 0: nobody sampled them.

    Returns:
        B rows, with `own`, float [B]: 1 for attempts and 0 for the others, which stand where the last attempts at
        their questions stood. What else is said of attempts is 0 for them, but for `trust` and `temperature`, 1.
    """
    rows: dict[int, list[int]] = {}
    for row, group in enumerate(attempts["group"].tolist()):
        rows.setdefault(group, []).append(row)
    taken = [rows[group].pop() for group in given["group"].tolist()]
    left = sorted(row for of_group in rows.values() for row in of_group)
    own = Batch({**attempts, "own": torch.ones(attempts.size)}).select(torch.tensor(left))
    mixed = beside(own, given, trust=1.0)
    return mixed.select(torch.tensor([*left, *taken]).argsort())


def answer_rows(worked: Attempts, tokenizer: Tokens) -> Batch:
    """Worked answers, of which the tokens of the answer itself are to be looked at, where it is written last.

    Args:
        worked: K of them; where a question's answer does not occur in its text, or is not known, all of it counts.
        tokenizer: that of the tokens.

    Returns:
        The same rows with another `completion_mask`, without the end-of-sequence token.
    """
    whole = worked.batch["completion_mask"]
    found = torch.zeros_like(whole)
    starts = whole.int().argmax(1).tolist()
    for row, (start, text, question) in enumerate(zip(starts, worked.texts, worked.questions, strict=True)):
        place = text.rfind(question.answer) if question.answer else -1
        low = _bytes(text[: max(place, 0)])
        high = low + _bytes(question.answer if place >= 0 else text)
        meant = [first < high and last > low for first, last in tokenizer.spans(text)]
        found[row, start : start + len(meant)] = torch.tensor(meant)
    return Batch({**worked.batch, "completion_mask": found & whole})


@torch.no_grad()
def followed(learner: Any, worked: Attempts) -> Tensor:
    """How likely a learner finds the right answer behind each worked one: its `comprehension`, float [K].

    Args:
        learner: a `CausalLearner`.
        worked: K of them, in its tokens.
    """
    training = learner.training
    learner.eval()
    parts = answer_rows(worked, learner.tokenizer).to(learner.device).split(_ROWS)
    found = torch.cat([comprehension(learner(part), part) for part in parts]).cpu()
    learner.train(training)
    return found


def _bytes(text: str | None) -> int:
    return len((text or "").encode(errors="replace"))
