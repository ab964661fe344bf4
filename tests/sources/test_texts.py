"""Texts of a question in columns: which are learned, in which order, and what is refused."""

import itertools

import pytest

from contract import LEARNER
from didact.errors import ConfigError, DataError
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.sources import from_records, select_texts

RECORDS = [
    {
        "prompt": f"{n}+1=",
        "completion": str(n + 1),
        "words": f"one more than {n}",
        "review": {"prompt": f"{n}+1={n + 2}?", "completion": f"no: {n + 1}"},
        **({"rare": "seldom"} if n % 5 == 0 else {}),
    }
    for n in range(40)
]


def told(questions):
    return [(question.prompt, question.completion) for question in questions]


def test_texts_are_completions_or_prompts_with_completions():
    questions = from_records(RECORDS)
    assert select_texts(questions, ("completion",)) is questions
    found = select_texts(questions, ("completion", "words", "review", "rare"))
    expected = [(r["prompt"], r["completion"]) for r in RECORDS]
    expected += [(r["prompt"], r["words"]) for r in RECORDS]
    expected += [(r["review"]["prompt"], r["review"]["completion"]) for r in RECORDS]
    expected += [(r["prompt"], "seldom") for r in RECORDS if "rare" in r]
    assert told(found) == expected
    assert len({question.id for question in found}) == len(found) == 128


@pytest.mark.parametrize(
    ("records", "name", "said"),
    [
        (RECORDS, "reveiw", r"texts has 'reveiw', but no training question has such a column\. Did you mean review"),
        (
            [{"prompt": "a", "review": 3}],
            "review",
            r"The column review of the question 'a' is 3; to be learned, it must",
        ),
        ([{"prompt": "a", "review": {"prompt": "b"}}], "review", "must be a text, or a mapping with a prompt and its"),
    ],
)
def test_what_is_no_text(records, name, said):
    with pytest.raises(DataError, match=said):
        select_texts(from_records(records), (name,))


def run_of(**options):
    given = {"method": "sft", "data": RECORDS, "student": LEARNER, "steps": 6, "batch_size": 8, **options}
    return prepare(*split_arguments(None, **given))


def learned(run, count):
    """The texts of the learned tokens, by batch."""
    tokenizer, found = run.student.model.tokenizer, []
    for batch in itertools.islice(run.source, count):
        rows = zip(batch["input_ids"], batch["completion_mask"], strict=True)
        found.append({tokenizer.decode(ids[mask].tolist()) for ids, mask in rows})
    return found


def test_the_first_text_comes_alone_and_then_the_others():
    words, reviews = ({r["words"] for r in RECORDS}, {r["review"]["completion"] for r in RECORDS})
    batches = learned(run_of(texts="words,review", first=0.5), 6)
    assert all(batch <= words for batch in batches[:3])
    assert all(batch <= reviews for batch in batches[3:])
    mixed = learned(run_of(texts="words,review"), 10)
    assert sum(bool(batch & words) and bool(batch & reviews) for batch in mixed) > 5


def test_one_may_learn_a_column_alone():
    assert run_of(texts="review").source.epoch_size == len(run_of().data.train)
    assert all(word.startswith("no: ") for batch in learned(run_of(texts="review"), 3) for word in batch)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"texts": ""}, "texts is "),
        ({"texts": "words,words"}, r"texts is \['words', 'words'\]; name at least one, each once"),
        ({"texts": "words", "first": 0.5}, "first is 0.5, but texts has 'words' alone"),
        (
            {"texts": "words,review", "first": 0.5, "steps": None, "epochs": 2},
            "a share of the steps, but the budget has",
        ),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(ConfigError, match=said):
        run_of(**options)
