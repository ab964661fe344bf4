"""Questions with many right answers: that all of them are, and are as likely."""

import itertools

import pytest

import didact
from didact import trusting, worlds
from didact.parts.verifier import verifier_of
from didact.types import Question
from didact.worlds.choosing import score_choice


def test_the_verifier_knows_all_right_answers_and_no_others():
    question = Question(id=0, prompt="730916:", answer="013679")
    right = {"".join(three) for three in itertools.combinations("013679", 3)}
    texts = ["".join(three) for three in itertools.product("0123456789", repeat=3)]
    assert {text for text in texts if score_choice(text, question)} == right
    assert not any(score_choice(text, question) for text in ("", "0", "01", "0136", "0 1", "730"))


def test_completions_are_right_and_every_choice_is_as_frequent():
    questions = worlds.load("choosing")
    verifier = verifier_of(questions.verifier)
    found = verifier.verify([q.completion for q in questions], questions).value
    assert found.tolist() == [1.0] * 4000
    assert all(sorted(q.prompt[:-1]) == list(q.answer) and q.prompt[-1] == ":" for q in questions)
    places = [tuple(q.answer.index(digit) for digit in q.completion) for q in questions]
    counts = [places.count(three) for three in itertools.combinations(range(6), 3)]
    assert sum(counts) == 4000
    assert sum((count - 200) ** 2 / 200 for count in counts) < 43.8  # chi-square with 19 degrees of freedom, p = 0.001
    drawn = [q.prompt[:6].index(q.completion[0]) for q in questions]
    assert [drawn.count(place) for place in range(6)] == pytest.approx([4000 / 6] * 6, rel=0.2)


def test_a_file_that_asks_for_the_world_may_have_its_verifier():
    """It is code that didact's own world names, not the file."""
    given = {"method": "grpo", "student": "decoder:1x16", "data": "choosing", "steps": 1, "progress": False}
    with trusting.untrusted("run.toml"):
        result = didact.run(sampling={"max_new_tokens": 4, "samples": 2}, batch_size=4, **given)
    assert 0 <= result.metrics["reward"] < 0.1
