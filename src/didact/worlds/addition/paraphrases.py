"""Addition in two wordings, for methods that learn from their agreement."""

import dataclasses
import functools

from didact.types import Questions
from didact.worlds.addition.plain import addition


@functools.cache
def paraphrased() -> Questions:
    """Add two numbers of two digits; each question comes with a paraphrase that swaps the numbers.

    Real: arithmetic.

    Simulated: the pairs of numbers, which are those of `addition`.

    Known: every answer, and that both wordings have the same one. For `37+85=` the paraphrase is `85+37=`, which is
    no other question's prompt; it comes without an answer.

    Returns:
        4,000 questions, with the `data` of `addition` and `paraphrase`. The verifier is `exact`.
    """
    asked = addition()
    items = (
        dataclasses.replace(question, data={**question.data, "paraphrase": "{b}+{a}=".format(**question.data)})
        for question in asked
    )
    return dataclasses.replace(asked, items=tuple(items), name="addition:paraphrased")
