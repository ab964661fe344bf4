"""Addition with attempts, critiques of them, and mistakes, for models that learn from more than right answers."""

import dataclasses
import functools
from itertools import zip_longest

from didact.documents import Document
from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds.addition.plain import pairs
from didact.worlds.addition.second_try import second_try


@functools.cache
def criticised() -> Questions:
    """Add two numbers of two digits; most questions come with a critique of an attempt, and all with a mistake.

    Real: arithmetic, and two kinds of mistakes that beginners make.

    Simulated: the pairs of numbers, which are those of `addition`, and the attempts, which are those of
    `addition:second_try`: four questions in five have one, and one attempt in four is right.

    Known: every answer, and what is wrong with every attempt. The prompt is `37+85=` and the completion is `221`, the
    reversed digits of the sum. Columns have further texts: `critique` has the prompt `37+85=211? `, and gives the right
    digits before it marks each of the attempt's, `221 +-+`; `unrelated` has the same prompt and the critique of another
    attempt, a control; `mistake` is a wrong sum behind a tag, with the prompt `37+85#`; and `untagged` is that sum for
    the plain prompt.

    Returns:
        4,000 questions, with the `data` of `addition` and the further texts. The verifier is `exact`.
    """
    asked = list(zip(pairs(), second_try(), strict=True))
    tried = [place for place, (_, other) in enumerate(asked) if "attempt" in other.data]
    critiques = {place: _critique(asked[place][0], asked[place][1].data["attempt"]) for place in tried}
    elsewhere = dict(zip(tried, [*tried[1:], tried[0]], strict=True))
    items = []
    for place, (plain, _) in enumerate(asked):
        prompt, wrong = plain.prompt, plain.rejected or ""
        texts: Document = {"mistake": {"prompt": f"{prompt[:-1]}#", "completion": wrong}, "untagged": wrong}
        if place in critiques:
            other = critiques[elsewhere[place]]["completion"]
            texts |= {"critique": critiques[place], "unrelated": {**critiques[place], "completion": other}}
        items.append(dataclasses.replace(plain, rejected=None, data={**plain.data, **texts}))
    return questions_of(items, name="addition:criticised", verifier="exact")


def _critique(question: Question, attempt: str) -> dict[str, str]:
    """The right digits, then a mark for each digit of an attempt."""
    answer = question.answer or ""
    marks = "".join("+" if said == right else "-" for said, right in zip_longest(attempt, answer))
    return {"prompt": f"{question.prompt}{attempt}? ", "completion": f"{answer} {marks}"}
