"""Tasks of reasoning-gym that are fast to generate and to verify."""

import functools
from collections.abc import Iterator
from typing import Any

from didact.documents import Document
from didact.errors import MissingExtraError
from didact.types import Question, Questions
from didact.worlds._asking import questions_of

_EACH = 200
_TASKS: dict[str, Document] = {
    "basic_arithmetic": {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2},
    "chain_sum": {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2},
    "gcd": {"max_value": 100},
    "letter_counting": {"min_words": 2, "max_words": 5},
    "number_sorting": {"min_numbers": 2, "max_numbers": 4, "min_value": 0, "max_value": 99},
    "spell_backward": {"min_word_len": 3, "max_word_len": 6},
}


@functools.cache
def reasoning() -> Questions:
    """Solve six kinds of small tasks of reasoning-gym, from sums and greatest common divisors to spelling backward.

    Real: the words that are spelled and whose letters are counted, which reasoning-gym takes from books.

    Simulated: the tasks, made by reasoning-gym's generators with the seed 0, at small sizes. Repeats are left out.

    Known: an answer to each, and reasoning-gym's own scorer, which also accepts others that are right and gives part of
    the reward for some that are not.

    Returns:
        About 200 questions per task; `data` has reasoning-gym's `metadata`, in which `source_dataset` is the task's
        name. The completion is the answer; the verifier is `reasoning_gym`.

    Raises:
        MissingExtraError: reasoning-gym is not installed.
    """
    try:
        import reasoning_gym
    except ImportError:
        raise MissingExtraError("reasoning-gym", "verify", "The world 'reasoning'") from None
    asked = {q.prompt: q for task, options in _TASKS.items() for q in _asked(reasoning_gym, task, options)}
    return questions_of(asked.values(), name="reasoning", verifier="reasoning_gym")


def _asked(reasoning_gym: Any, task: str, options: Document) -> Iterator[Question]:
    for entry in reasoning_gym.create_dataset(task, size=_EACH, seed=0, **options):
        answer, data = str(entry["answer"]), {"metadata": entry["metadata"]}
        yield Question(id=0, prompt=entry["question"], answer=answer, completion=answer, data=data)
