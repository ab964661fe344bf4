"""What the worlds for language models ask, and that their answers are right."""

import re
from collections import Counter

import pytest

from didact import sources, worlds
from didact.errors import ConfigError, DataError, MissingExtraError
from didact.types import Questions

NAMES = (
    "addition",
    "addition:criticised",
    "addition:explained",
    "addition:optional_scratchpad",
    "addition:pairs",
    "addition:paraphrased",
    "addition:scratchpad",
    "addition:second_try",
    "addition:ways",
    "choosing",
    "last_letter",
    "last_letter:attempted",
    "last_letter:compared",
    "last_letter:explained",
    "markov",
    "reasoning",
    "rewriting",
    "sorting:careless",
    "stdlib:code",
    "strings:forgetting",
    "strings:preferred",
    "strings:relevance",
    "strings:scales",
    "strings:sql",
    "strings:synonyms",
)


def test_questions_and_examples_are_told_apart():
    assert worlds.names("questions") == NAMES
    assert not set(NAMES) & set(worlds.names("examples"))
    assert worlds.names() == tuple(sorted((*NAMES, *worlds.names("examples"))))
    with pytest.raises(ConfigError, match="'addition', which has questions for language models; those with examples"):
        worlds.load("addition", "examples")
    with pytest.raises(ConfigError, match="'digits', which has examples without questions; those with questions are "):
        worlds.load("digits", "questions")


@pytest.mark.parametrize("name", NAMES)
def test_a_world_of_questions_is_whole(name):
    if name == "reasoning":
        pytest.importorskip("reasoning_gym")
    questions = worlds.load(name, "questions")
    assert isinstance(questions, Questions)
    assert worlds.load(name) is questions
    assert questions.name == name
    assert len({q.id for q in questions}) == len({q.prompt for q in questions}) == len(questions)
    assert all(q.prompt.strip() and q.completion for q in questions)
    again = worlds.describe(name).make.__wrapped__()
    assert sources.fingerprint_questions(again) == sources.fingerprint_questions(questions)
    parts = dict(zip(("train", "validation", "test"), sources.split_questions(questions), strict=True))
    assert sources.find_duplicate_questions(parts) == []
    assert bool(questions.verifier) == all(q.answer is not None for q in questions)


def operands(question):
    return tuple(map(int, re.fullmatch(r"(\d\d)\+(\d\d)=", question.prompt).groups()))


def test_sums_are_right_and_turned_around():
    questions = worlds.load("addition")
    for question in questions:
        a, b = operands(question)
        assert question.answer == question.completion == str(a + b)[::-1]
        carries = sum(a % 10**n + b % 10**n >= 10**n for n in (1, 2))
        assert question.data == {"a": a, "b": b, "carries": carries}
    assert len(questions) == 4000
    assert questions.verifier == "exact"
    assert {len(q.completion) for q in questions} == {2, 3}


def test_the_scratchpad_leads_to_the_sum_by_true_equations():
    plain, questions = worlds.load("addition"), worlds.load("addition:scratchpad")
    assert [q.id for q in questions] == [q.id for q in plain]
    for question in questions:
        *lines, last = question.completion.split("\n")
        sides = [line.split("=") for line in lines]
        assert all(sum(map(int, left.split("+"))) == int(right) for left, right in sides)
        assert sides[-1][1] + sides[0][1][-1] == last == question.answer == str(sum(operands(question)))
    assert {q.prompt: q.completion for q in questions}["37+85="] == "7+5=12\n3+8+1=12\n122"


def test_a_numeric_verifier_finds_the_sum_at_the_end_of_the_scratchpad():
    math_verify = pytest.importorskip("math_verify")
    for question in worlds.load("addition:scratchpad")[:20]:
        assert math_verify.verify(math_verify.parse(question.answer), math_verify.parse(question.completion))
        wrong = question.completion.rsplit("\n", 1)[0] + "\n" + str(int(question.answer) + 1)
        assert not math_verify.verify(math_verify.parse(question.answer), math_verify.parse(wrong))


def rewritten(rule, word):
    letters = list(word)
    if rule == "sort":
        return "".join(letter for known in "abcdefgh" for letter in letters if letter == known)
    if rule == "reverse":
        return "".join(letters.pop() for _ in word)
    if rule == "duplicate":
        return "".join(letters * 2)
    return re.sub(word[0], "x", word)


def test_strings_are_rewritten_by_their_rule():
    questions = worlds.load("rewriting")
    for question in questions:
        rule, word = re.fullmatch(r"(\w+) ([a-h]{2,6})=", question.prompt).groups()
        assert question.answer == question.completion == rewritten(rule, word)
        assert question.data == {"rule": rule, "length": len(word)}
    assert Counter(q.data["rule"] for q in questions) == dict.fromkeys(
        ("reverse", "sort", "replace", "duplicate"), 1000
    )
    lengths = Counter(q.data["length"] for q in questions)
    assert set(lengths) == {2, 3, 4, 5, 6}


def test_answers_to_reasoning_tasks_satisfy_the_gyms_own_scorer():
    reasoning_gym = pytest.importorskip("reasoning_gym")
    questions = worlds.load("reasoning")
    tasks = Counter(q.data["metadata"]["source_dataset"] for q in questions)
    assert len(tasks) == 6
    assert all(150 < count <= 200 for count in tasks.values())
    for task in tasks:
        score = reasoning_gym.get_score_answer_fn(task)
        some = [q for q in questions if q.data["metadata"]["source_dataset"] == task][:20]
        for question in some:
            entry = {"question": question.prompt, "answer": question.answer, **question.data}
            assert score(question.answer, entry) == 1
            assert score("nothing of the kind", entry) < 1


def test_lines_of_code_are_cut_at_a_space_beyond_their_middle():
    lines = set(worlds.load("stdlib:text").texts)
    questions = worlds.load("stdlib:code")
    assert len(questions) > 1000
    for question in questions:
        assert question.prompt + question.completion in lines
        assert question.completion[0] == " "
        assert len(question.prompt) + 1 >= len(question.completion)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "reasoning_gym", None)
    with pytest.raises(MissingExtraError, match=r"'reasoning' needs .*'reasoning-gym'.*didact\[verify\]"):
        worlds.describe("reasoning").make.__wrapped__()


def test_what_classifies_is_not_offered_questions():
    from didact.experiment import RunConfig
    from didact.materials.examples.data import open_examples

    with pytest.raises(ConfigError, match="'addition', which holds questions for language models"):
        open_examples(RunConfig.from_flags(method="supervised", data="addition"))
    with pytest.raises((ConfigError, DataError), match="which is neither a file or folder") as refused:
        open_examples(RunConfig.from_flags(method="supervised", data="additions"))
    assert "addition " not in str(refused.value)
