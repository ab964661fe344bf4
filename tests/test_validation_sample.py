"""Checks on part of the rows: a fixed sample of all of them, as files may be ordered by kind."""

import pytest

import didact
from didact import hashing
from didact.errors import ConfigError
from didact.materials.questions.evaluator import WATCHED


def test_sample_is_fixed_and_of_all_rows():
    assert hashing.sample(5, 128) == [0, 1, 2, 3, 4]
    rows = hashing.sample(100_000, 128)
    assert rows == hashing.sample(100_000, 128) == sorted(set(rows))
    assert len(rows) == 128
    # The share of either half is a hypergeometric draw: five standard errors. So it is where kinds alternate.
    assert abs(sum(row < 50_000 for row in rows) - 64) < 5 * 128**0.5 / 2
    assert abs(sum(row % 2 for row in rows) - 64) < 5 * 128**0.5 / 2


def test_validation_asks_questions_of_every_kind():
    asked = []

    def verifier(_text, question):
        asked.append(question.prompt)
        return 1.0

    rows = [{"prompt": f"{i:03d}{kind}", "completion": "x"} for kind in "ab" for i in range(300)]
    quick = {"student": "decoder:1x16:32", "batch_size": 8, "steps": 1, "sampling": "max_new_tokens=1"}
    didact.run(method="sft", data=rows, validation=0.4, test=0.01, **quick, verifier=verifier, progress=False)
    kinds = [prompt[-1] for prompt in asked[-WATCHED:]]
    assert 40 < kinds.count("b") < 90


def test_message_about_a_whole_data_set_is_short():
    rows = [{"prompt": f"{i}", "completion": "x"} for i in range(1000)]
    with pytest.raises(ConfigError, match="but must be") as caught:
        didact.run(data=rows, validation=rows, method="sft", progress=False)
    assert len(str(caught.value)) < 400
