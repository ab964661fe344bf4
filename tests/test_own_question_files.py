"""Validation and test prompts in files of their own."""

import json

import pytest

import didact
from didact.errors import ConfigError, DataError
from didact.experiment.config import RunConfig
from didact.materials.questions.data import open_questions

QUICK = {"method": "sft", "student": "decoder:1x16:32", "batch_size": 8, "steps": 2, "sampling": "max_new_tokens=2"}


def write(path, numbers):
    rows = [{"id": n, "question": f"{n}+1=", "completion": str(n + 1)} for n in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prompts(part):
    return [question.prompt for question in part]


def opened(tmp_path, **settings):
    files = {"data": write(tmp_path / "train.jsonl", range(40)), "columns": "prompt=question", "method": "sft"}
    return open_questions(RunConfig.from_flags(**{**files, **settings}))


def test_all_of_each_file_is_one_part(tmp_path):
    held, last = write(tmp_path / "held.jsonl", range(100, 107)), write(tmp_path / "last.jsonl", range(200, 203))
    data = opened(tmp_path, validation=held, test=last)
    assert len(data.train) == 40
    assert prompts(data.validation) == [f"{n}+1=" for n in range(100, 107)]
    assert prompts(data.test) == [f"{n}+1=" for n in range(200, 203)]
    assert len(data.questions) == 50
    assert not data.duplicates


def test_the_rest_is_split_by_fractions(tmp_path):
    last = write(tmp_path / "last.jsonl", range(200, 203))
    data = opened(tmp_path, validation=0.5, test=last)
    assert len(data.test) == 3
    assert len(data.train) + len(data.validation) == 40
    assert len(data.validation) > 10
    assert not set(prompts(data.train)) & set(prompts(data.validation))


def test_rows_that_are_in_two_files_are_named(tmp_path):
    data = opened(tmp_path, test=write(tmp_path / "last.jsonl", [3, 4, 500]))
    assert len(data.duplicates) == 2
    # The same id of another row is no leak; it gets an id of its own.
    (tmp_path / "other.jsonl").write_text(json.dumps({"id": 3, "question": "9-1=", "completion": "8"}) + "\n")
    data = opened(tmp_path, test=str(tmp_path / "other.jsonl"))
    assert not data.duplicates
    assert len({question.id for question in data.questions}) == 41


def test_a_run_learns_is_judged_and_resumes(tmp_path):
    held, last = write(tmp_path / "held.jsonl", range(100, 107)), write(tmp_path / "last.jsonl", range(200, 203))
    found = didact.run(
        **QUICK, data=write(tmp_path / "train.jsonl", range(40)), columns="prompt=question", validation=held, test=last,
        directory=tmp_path / "run", progress=False,
    )  # fmt: skip
    assert 0 < found.metrics["nll"] < 10
    again = didact.resume(tmp_path / "run", progress=False)
    assert again.metrics == found.metrics


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("nowhere.jsonl", ConfigError, "validation is 'nowhere.jsonl', which is no file here"),
        ("", DataError, "no questions"),
    ],
)
def test_what_is_no_file_of_prompts_is_refused(tmp_path, value, kind, words):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(kind, match=words):
        opened(tmp_path, validation=value or str(empty))
