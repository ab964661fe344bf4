"""A few questions that serve every kind of language method, and a reward that an untrained model earns now and then."""

from didact.types import Question, Questions


def reward(text: str, question: Question) -> float:
    """1 where an answer begins with a plain character, and next to nothing where it doesn't; 0 for none.

    An untrained model over bytes earns it half of the time, and can learn it within a few steps.
    """
    if not text:
        return 0.0
    return 1.0 if text[0].isascii() else 0.1


def ends_right(text: str, question: Question) -> float:
    """1 where a text ends in the answer, whatever is before it."""
    return float(text.endswith(question.answer or ""))


def questions(count: int = 48) -> Questions:
    """Sums of two digits with answers, demonstrations, other answers and words, and what two teachers say of them."""
    items = []
    for place in range(count):
        a, b = place % 10, place // 10
        right, wrong = str(a + b), str(a + b + 3)
        told = {"rationales": {"counting": f"{a}>{right}", "turning": f"{b}+{a}:{right}"}, "paraphrase": f"{b}+{a}="}
        rated = ((wrong, 1), (right, 4), (f"{right}0", 3))
        told["rated"] = [{"text": text, "rating": rating} for text, rating in rated]
        items.append(Question(id=place, prompt=f"{a}+{b}=", answer=right, completion=right, rejected=wrong, data=told))
    return Questions(items=tuple(items), name="sums", verifier="small_questions:reward")
