"""What people answer is kept, whatever happens, and counted once."""

import csv
import os

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from didact.errors import ConfigError, DataError, RunError
from didact.evaluation.kappa import agreement_of
from didact.labelling.answers import Answers, share_out

IDS = ("a", "b", "c", 'd,"é\u2028')
CLASSES = ("cat", "dog")


@pytest.fixture
def opened(tmp_path):
    """Opens the answers again and again, as one process after another."""
    last = []

    def reopen(ids=IDS, classes=CLASSES, people=("1",), overlap=0.0):
        while last:
            last.pop().close()
        last.append(Answers(tmp_path / "labels.csv", ids, classes, people, overlap))
        return last[0]

    yield reopen
    while last:
        last.pop().close()


def written(path):
    with path.open(encoding="utf-8", newline="") as file:
        return dict(list(csv.reader(file))[1:])


def test_an_answer_is_in_the_journal_and_in_the_file_and_is_there_when_reopened(opened):
    answers = opened()
    answers.answer("1", IDS[3], "dog")
    answers.answer("1", "a", "cat")
    assert written(answers.out) == {"a": "cat", IDS[3]: "dog"}
    again = opened()
    assert written(again.out) == {"a": "cat", IDS[3]: "dog"}
    assert again.progress("1")["answered"] == 2 and again.next_of("1") == 1


def test_the_last_answer_wins_as_a_change_and_the_same_twice_is_nothing(opened):
    answers = opened()
    answers.answer("1", "a", "cat")
    size = answers.journal.stat().st_size
    answers.answer("1", "a", "cat")
    assert answers.journal.stat().st_size == size and answers.progress("1")["changed"] == 0
    answers.answer("1", "a", "dog")
    assert written(answers.out) == {"a": "dog"} and opened().progress("1")["changed"] == 1


def test_undo_takes_back_one_act_after_another_even_in_a_new_process(opened):
    answers = opened()
    answers.answer("1", "a", "cat")
    answers.skip("1", "b")
    answers.answer("1", "a", "dog")
    answers.answer("1", "b", "cat")
    assert answers.undo("1") == 1
    assert answers.progress("1")["skipped"] == 1
    answers = opened()
    assert answers.undo("1") == 0 and answers.label_of("1", 0) == "cat"
    assert answers.undo("1") == 1 and answers.progress("1")["skipped"] == 0
    assert answers.undo("1") == 0 and written(answers.out) == {}
    assert answers.undo("1") is None and opened().undo("1") is None


def test_skipped_rows_come_last(opened):
    answers = opened()
    answers.skip("1", "a")
    assert answers.next_of("1", 0) == 1
    for name in IDS[1:]:
        answers.answer("1", name, "cat")
    assert answers.next_of("1", 3) == 0
    answers.answer("1", "a", "cat")
    assert answers.next_of("1", 0) is None and answers.progress("1")["skipped"] == 0


@pytest.mark.parametrize(("name", "label"), [("a", "bird"), ("z", "cat"), ("a", "")])
def test_nonsense_is_refused_and_changes_nothing(opened, name, label):
    answers = opened()
    with pytest.raises(ConfigError, match="which is no"):
        answers.answer("1", name, label)
    assert answers.journal.stat().st_size == 0 and written(answers.out) == {}


def test_a_line_that_was_cut_short_is_left_out(opened):
    answers = opened()
    answers.answer("1", "a", "cat")
    whole = answers.journal.read_bytes()
    answers.answer("1", "b", "dog")
    answers.journal.write_bytes(answers.journal.read_bytes()[:-5])
    again = opened()
    assert written(again.out) == {"a": "cat"} and again.journal.read_bytes() == whole
    again.answer("1", "b", "cat")
    assert written(opened().out) == {"a": "cat", "b": "cat"}


def test_a_full_disk_keeps_nothing_of_an_answer(opened, monkeypatch):
    answers = opened()
    answers.answer("1", "a", "cat")
    before = answers.journal.read_bytes()
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr("didact.labelling.answers.os.write", lambda file, data: write(file, data[:9]))
        with pytest.raises(OSError, match="No space"):
            answers.answer("1", "b", "dog")
    assert answers.journal.read_bytes() == before and answers.label_of("1", 1) is None
    answers.answer("1", "b", "dog")
    assert written(opened().out) == {"a": "cat", "b": "dog"}


def test_a_broken_line_an_old_class_and_a_second_process_are_named(opened, tmp_path):
    answers = opened()
    answers.answer("1", "a", "cat")
    with pytest.raises(RunError, match="Another"):
        Answers(answers.out, IDS, CLASSES, ("1",))
    with pytest.raises(DataError, match="line 1 has the label 'cat', which is no class now"):
        opened(classes=("bird", "dog"))
    answers.journal.write_bytes(b"{\n" + answers.journal.read_bytes())
    with pytest.raises(DataError, match="line 1 is broken"):
        opened()


def test_a_file_of_someone_else_is_not_written_over(tmp_path):
    (tmp_path / "labels.csv").write_text("id,label\nx,cat\n")
    with pytest.raises(ConfigError, match="exists"):
        Answers(tmp_path / "labels.csv", IDS, CLASSES, ("1",))
    assert (tmp_path / "labels.csv").read_text() == "id,label\nx,cat\n"


def test_answers_of_rows_that_are_gone_stay_in_the_journal_alone(opened):
    opened().answer("1", "a", "cat")
    answers = opened(ids=("b", "c"))
    assert answers.gone == 1 and written(answers.out) == {}
    assert written(opened().out) == {"a": "cat"}


@pytest.mark.parametrize(("people", "overlap", "common"), [(1, 0.5, 40), (2, 0.1, 4), (3, 0.0, 0), (2, 1.0, 40)])
def test_rows_are_shared_out_whole_and_evenly(people, overlap, common):
    ids = [f"row {place}" for place in range(40)]
    parts = share_out(ids, [str(one) for one in range(people)], overlap)
    assert set().union(*parts.values()) == set(range(40))
    if people > 1:
        assert len(set.intersection(*map(set, parts.values()))) == common
    assert max(map(len, parts.values())) - min(map(len, parts.values())) <= 1
    assert share_out(ids, [str(one) for one in range(people)], overlap) == parts


def test_two_people_agree_where_they_do(opened):
    answers = opened(people=("ann", "ben"), overlap=1.0)
    for name, first, second in zip(IDS, ("cat", "dog", "cat", "dog"), ("cat", "cat", "cat", None), strict=True):
        answers.answer("ann", name, first)
        if second:
            answers.answer("ben", name, second)
    assert written(answers.out) == {"a": "cat", "c": "cat", IDS[3]: "dog"}
    assert written(answers.path_of("ben")) == {"a": "cat", "b": "cat", "c": "cat"}
    (pair,) = answers.agreement()
    assert (pair["rows"], pair["raw"], pair["kappa"]) == (3, pytest.approx(2 / 3), 0.0)
    assert pair["differ"] == [{"id": "b", "ann": "dog", "ben": "cat"}]


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    first = draw.choice(list("abc"), 50)
    second = np.where(draw.random(50) < 0.3 * seed, draw.choice(list("abcd"), 50), first)
    found = agreement_of(first.tolist(), second.tolist())
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))
    assert found.raw == pytest.approx(np.mean(first == second))


def test_kappa_is_undefined_without_rows_or_with_one_label_throughout():
    assert agreement_of([], []) == (0, None, None)
    assert agreement_of(["a", "a"], ["a", "a"]) == (2, 1.0, None)
    assert agreement_of(["a", "a"], ["b", "b"]) == (2, 0.0, 0.0)
