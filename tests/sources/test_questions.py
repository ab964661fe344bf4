import json

import pytest
import torch

from didact import sources
from didact.errors import ConfigError, DataError
from didact.sources import find_duplicate_questions, fingerprint_questions, load_questions, split_questions
from didact.types import Question, Questions

USER = {"role": "user", "content": "37+85="}
SYSTEM = {"role": "system", "content": "Add."}


def says(content):
    return {"role": "assistant", "content": content}


@pytest.fixture
def write(tmp_path):
    def written(*records, name="q.jsonl"):
        path = tmp_path / name
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
        return path

    return written


def one(path, **options):
    (question,) = load_questions(path, **options)
    return question


def test_usual_columns_are_found_and_the_others_kept(write):
    path = write({"question": "37+85=", "answer": 122, "solution": "It is 122.", "tests": ["a"], "note": None})
    question = one(path)
    assert (question.prompt, question.answer, question.completion) == ("37+85=", "122", "It is 122.")
    assert question.messages == ()
    assert question.data == {"tests": ["a"]}


def test_a_column_is_taken_where_it_is_named(write):
    path = write({"prompt": "no", "asked": "yes", "answer": "not this"})
    question = one(path, columns={"prompt": "asked", "answer": ""})
    assert (question.prompt, question.answer) == ("yes", None)
    assert question.data == {"prompt": "no", "answer": "not this"}


def test_a_conversation_ends_where_the_answer_begins(write):
    question = one(write({"messages": [SYSTEM, USER, says("122")]}))
    assert question.messages == (SYSTEM, USER)
    assert (question.prompt, question.completion) == ("Add.\n37+85=", "122")
    assert one(write({"messages": [USER]})).completion is None
    assert one(write({"prompt": [USER], "completion": [says("122")]})).completion == "122"


def test_pairs_are_strings_or_conversations_that_begin_alike(write):
    plain = one(write({"prompt": "37+85=", "chosen": "122", "rejected": "112"}))
    assert (plain.prompt, plain.completion, plain.rejected) == ("37+85=", "122", "112")
    whole = one(write({"prompt": "37+85=", "chosen": [USER, says("122")], "rejected": [USER, says("112")]}))
    assert (whole.messages, whole.completion, whole.rejected) == ((USER,), "122", "112")
    apart = one(write({"prompt": [USER], "chosen": [says("122")], "rejected": [says("112")]}))
    assert (apart.messages, apart.completion, apart.rejected) == ((USER,), "122", "112")


def test_jsonl_parquet_and_hf_give_the_same_questions(write, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    records = [{"messages": [USER, says(str(i))], "answer": str(i), "level": i} for i in range(3)]
    table = datasets.Dataset.from_list(records)
    import pyarrow.parquet

    pyarrow.parquet.write_table(table.data.table, tmp_path / "q.parquet")
    table.save_to_disk(tmp_path / "d")
    lines = load_questions(write(*records))
    assert [q.answer for q in lines] == ["0", "1", "2"]
    for other in (load_questions(tmp_path / "q.parquet"), load_questions(f"hf:{tmp_path / 'd'}")):
        assert other.items == lines.items
        assert fingerprint_questions(other) == fingerprint_questions(lines)


def test_ids_come_from_the_column_or_from_the_contents(write):
    named = load_questions(write({"id": 7, "prompt": "a"}, {"id": "8", "prompt": "a"}))
    again = load_questions(write({"id": "8", "prompt": "b"}, {"id": "7", "prompt": "c"}))
    assert [q.id for q in named] == [q.id for q in again][::-1]
    rows = [{"prompt": "a", "completion": "1"}, {"prompt": "a", "completion": "2"}, {"prompt": "b", "completion": "1"}]
    forward, backward = load_questions(write(*rows)), load_questions(write(*rows[::-1]))
    assert len({q.id for q in forward}) == 3
    assert [q.id for q in forward] == [q.id for q in backward][::-1]
    assert all(-(2**63) <= q.id < 2**63 for q in forward)


def test_repeated_ids_are_refused_with_the_way_out(write):
    path = write({"id": 7, "prompt": "a"}, {"id": 7, "prompt": "b"})
    with pytest.raises(DataError, match=r"'id' is '7' in rows 1, 2; .* columns=\{\"id\": \"\"\}"):
        load_questions(path)
    assert load_questions(path, columns={"id": ""})[0].data == {"id": 7}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (["", {"prompt": "a"}, "{nope"], r"q\.jsonl, line 3 is not JSON"),
        ([{"prompt": "a"}, "[1]"], r"q\.jsonl, line 2 is a list"),
        (
            [{"prompt": "a"}, "", {"asked": "b", "answer": "c"}],
            r"q\.jsonl, line 3 has no prompt; its columns are asked",
        ),
        ([{"prompt": " "}], r"line 1 has the prompt ' '"),
        ([{"prompt": 3}], r"line 1 has the prompt 3"),
        ([{"prompt": "a", "completion": 3}], "line 1 has the completion '3'"),
        ([{"prompt": "a", "chosen": "b"}], "line 1 has only one answer of a pair; give rejected too"),
        ([{"prompt": "a", "rejected": "b"}], "line 1 has only one answer of a pair; give chosen too"),
        ([{"messages": []}], r"line 1 has '\[\]' where a conversation should be"),
        ([{"messages": [{"role": "user", "content": ["x"]}]}], "where a conversation should be"),
        ([{"messages": [says("a")]}], "an answer alone"),
        ([{"chosen": [USER, USER], "rejected": [USER, says("b")]}], "last message is of 'user'"),
        ([{"chosen": [USER, says("a")], "rejected": [SYSTEM, says("b")]}], "differ in more than their last message"),
        (
            [{"instruction": "a", "problem": "b"}],
            r"problem and instruction, each of which may be the prompt; say which",
        ),
        ([], "has no questions"),
    ],
)
def test_a_row_that_is_no_question_is_named(write, records, message):
    with pytest.raises(DataError, match=message):
        load_questions(write(*records))


def test_options_and_files_that_mean_nothing_are_refused(write, tmp_path):
    path = write({"prompt": "a"})
    with pytest.raises(ConfigError, match="split is 'train'"):
        load_questions(path, split="train")
    with pytest.raises(ConfigError, match=r"columns is 'prompts', which is not known\. Did you mean prompt"):
        load_questions(path, columns={"prompts": "prompt"})
    with pytest.raises(DataError, match=r"no column 'promt', which is to be the prompt\. Did you mean prompt"):
        load_questions(path, columns={"prompt": "promt"})
    with pytest.raises(DataError, match=r"There is no file .*Did you mean q\.jsonl"):
        load_questions(tmp_path / "p.jsonl")
    with pytest.raises(DataError, match=r"q\.csv is of a kind that holds no questions"):
        load_questions(write("a", name="q.csv"))
    with pytest.raises(DataError, match=r"q\.parquet is not a readable Parquet file"):
        load_questions(write("a", name="q.parquet"))


def made(prompts):
    return Questions(items=tuple(Question(id=i, prompt=prompt) for i, prompt in enumerate(prompts)))


def test_a_split_depends_on_what_is_asked_alone():
    questions = made([f"{i % 300}+1=" for i in range(600)])
    parts = split_questions(questions, validation=0.2, test=0.3, seed=4)
    assert sum(map(len, parts)) == 600
    assert 60 < len(parts[1]) < 180
    assert 120 < len(parts[2]) < 240
    names = dict(zip(("train", "validation", "test"), parts, strict=True))
    assert find_duplicate_questions(names) == []
    fewer = split_questions(questions.select(range(599, 0, -2)), validation=0.2, test=0.3, seed=4)
    for part, smaller in zip(parts, fewer, strict=True):
        assert {q.id for q in smaller} == {q.id for q in part if q.id % 2}
    assert {q.id for q in split_questions(questions, seed=5)[2]} != {q.id for q in parts[2]}


def test_fractions_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"validation \+ test is 1"):
        split_questions(made("ab"), validation=0.5, test=0.5)
    with pytest.raises(DataError, match=r"The split test is empty: its fraction of 1 examples is 0\.01"):
        split_questions(made("a"), validation=0, test=0.01)


def test_the_same_prompt_in_two_files_is_found():
    found = find_duplicate_questions({"train": made("abc"), "test": made("xcb"), "empty": made("")})
    assert {duplicate.ids for duplicate in found} == {(1, 2), (2, 1)}
    assert str(found[0]).startswith("train (id 1) and test (id 2)")


def test_a_fingerprint_changes_with_anything_but_the_order():
    questions = made("abc")
    assert fingerprint_questions(questions.select([2, 0, 1])) == fingerprint_questions(questions)
    prints = {fingerprint_questions(q) for q in (questions, made("abd"), made("ab"), made(""), made("abcd"))}
    changed = Questions(items=(*questions[:2], Question(id=2, prompt="c", answer="1")))
    assert len(prints | {fingerprint_questions(changed)}) == 6


def test_the_split_of_examples_has_the_same_rule():
    ids = torch.arange(50)
    masks = sources.splitting.assign_splits(ids, validation=0.2, test=0.2, seed=1)
    assert torch.equal(torch.stack(masks).sum(0), torch.ones(50, dtype=torch.int64))
