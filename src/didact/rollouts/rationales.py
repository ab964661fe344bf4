"""Rationales: step-by-step completions of several teachers, from the data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from didact.errors import DataError
from didact.types import Question

RATIONALES = "rationales"
"""Their key in `Question.data`: a table of texts by the names of the teachers."""


def rationales_of(question: Question) -> dict[str, str]:
    """The rationales of a question, by the names of their teachers; empty ones are left out.

    Raises:
        DataError: they are not a table of texts.
    """
    found = question.data.get(RATIONALES) or {}
    if not isinstance(found, Mapping) or not all(isinstance(text, str | None) for text in found.values()):
        raise DataError(
            f"The rationales of the question {question.prompt[:60]!r} are {str(found)[:60]!r}; they must be a table of "
            "texts by the names of those who wrote them, such as {'first': '7+5=12, 30+80=110: 122'}."
        )
    return {str(name): text for name, text in found.items() if text}


def prefix_prompt(question: Question, words: str) -> Question:
    """The question with words before its prompt, or before the last message of a conversation."""
    if not question.messages:
        return dataclasses.replace(question, prompt=words + question.prompt)
    *before, last = question.messages
    return dataclasses.replace(question, messages=(*before, {**last, "content": words + last["content"]}))


def check_fits(learner: Any, question: Question, text: str) -> None:
    """Refuse a completion that exceeds the context of a `CausalLearner`.

    Raises:
        DataError: prompt and completion together are too long.
    """
    whole = len(learner.tokenizer.prompt(question)) + len(learner.tokenizer.completion(question, text))
    if whole > learner.context:
        raise DataError(
            f"The prompt {question.prompt[:60]!r} has {whole} tokens with its answer {text[:30]!r}, but the learner "
            f"reads {learner.context} at most; leave such answers out, or give a learner with a longer context."
        )
