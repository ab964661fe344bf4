"""Rationales: worked answers of several teachers, which the data have, and which prompts ask for."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from didact.errors import DataError
from didact.types import Question

RATIONALES = "rationales"
"""What `Question.data` has them under: a table of texts by the names of the teachers."""


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


def prefix_prompt(question: Question, words: str) -> Question:
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
