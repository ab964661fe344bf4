import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import CheckpointError, ConfigError, DataError
from didact.sources import CompletionSource
from didact.sources.completions import best_fit
from didact.types import Question, Questions, Stateful

PAD, BOS, EOS = 0, 1, 2


class Letters:
    pad = PAD

    def prompt(self, question):
        return [BOS, *map(ord, question.prompt)]

    def completion(self, question, text=None):
        return [*map(ord, question.completion if text is None else text), EOS]


def made(*sizes):
    """Questions whose prompts have different letters and the given lengths; their completions too."""
    rows = [(chr(200 + i) * p, chr(600 + i) * c) for i, (p, c) in enumerate(sizes)]
    items = (Question(id=1000 + i, prompt=p, completion=c, rejected=c[:1] * 2) for i, (p, c) in enumerate(rows))
    return Questions(items=tuple(items))


SIZES = [(1, 1), (3, 2), (2, 5), (1, 7), (4, 4), (2, 2), (6, 1)]
sizes = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 7)), min_size=1, max_size=30)


def expected(question, field="completion"):
    prompt, answer = Letters().prompt(question), Letters().completion(question, getattr(question, field))
    return prompt + answer, [False] * len(prompt) + [True] * len(answer)


def one_pass(source):
    seen, batches = 0, []
    for batch in source:
        seen += batch.size
        batches.append(batch)
        if seen >= source.epoch_size:
            return batches
    raise AssertionError


@settings(max_examples=40, deadline=None)
@given(sizes, st.data())
def test_every_question_comes_once_a_pass_as_its_tokens(given_sizes, data):
    questions = made(*given_sizes)
    size = data.draw(st.integers(1, len(questions)))
    source = CompletionSource(questions, Letters(), batch_size=size, max_length=20, seed=3)
    by_id = {q.id: expected(q) for q in questions}
    found = []
    for batch in one_pass(source):
        batch.check()
        rows = (batch[k].tolist() for k in ("id", "input_ids", "attention_mask", "completion_mask"))
        longest = 0
        for i, ids, attention, learned in zip(*rows, strict=True):
            tokens, answer = by_id[i]
            rest = len(ids) - len(tokens)
            assert ids == tokens + [PAD] * rest
            assert attention == [1] * len(tokens) + [0] * rest
            assert learned == answer + [False] * rest
            longest = max(longest, len(tokens))
            found.append(i)
        assert batch["input_ids"].shape[1] == longest
        assert [questions[row].id for row in batch["row"].tolist()] == batch["id"].tolist()
    assert sorted(found) == sorted(by_id)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(14, 30))
def test_packed_rows_hold_every_question_once_and_whole(given_sizes, max_length):
    questions = made(*given_sizes)
    source = CompletionSource(questions, Letters(), batch_size=1, max_length=max_length + 2, packed=True)
    whole = sorted(expected(q) for q in questions)
    found = []
    for batch in one_pass(source):
        ids, learned, segments = (batch[k][0] for k in ("input_ids", "completion_mask", "segments"))
        assert len(ids) <= max_length + 2
        assert torch.equal(segments > 0, batch["attention_mask"][0] > 0)
        assert torch.equal(segments.unique(), torch.arange(1, int(segments.max()) + 1))
        assert (segments.diff() >= 0).all()
        for number in segments.unique():
            place = segments == number
            found.append((ids[place].tolist(), learned[place].tolist()))
    assert sorted(found) == whole


def test_packed_rows_of_different_widths_are_padded_with_segment_zero():
    source = CompletionSource(made(*SIZES, (1, 1)), Letters(), batch_size=2, max_length=10, packed=True)
    for batch in itertools.islice(source, 20):
        ends = batch["attention_mask"].sum(1)
        assert batch["input_ids"].shape[1] == ends.max()
        assert (batch["segments"][batch["attention_mask"] == 0] == 0).all()
        assert not batch["completion_mask"][batch["attention_mask"] == 0].any()


def test_packing_depends_on_the_questions_and_not_on_their_order():
    questions = made(*SIZES)
    ids = [
        {int(i) for batch in one_pass(source) for i in batch["id"]}
        for source in (
            CompletionSource(some, Letters(), batch_size=1, max_length=16, packed=True)
            for some in (questions, questions.select(range(len(SIZES) - 1, -1, -1)))
        )
    ]
    assert ids[0] == ids[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), max_size=40))
def test_best_fit_is_that_of_a_slow_search(lengths):
    lengths = sorted(lengths, reverse=True)
    left, slow = [], []
    for length in lengths:
        fitting = [space for space in left if space >= length]
        if fitting:
            left[left.index(min(fitting))] -= length
        else:
            left.append(12 - length)
        slow.append(sorted(left))
    bins = best_fit(lengths, 12)
    assert sorted(itertools.chain(*bins)) == list(range(len(lengths)))
    assert sorted(12 - sum(lengths[i] for i in held) for held in bins) == (slow[-1] if slow else [])


def test_pairs_come_side_by_side():
    questions = made(*SIZES)
    source = CompletionSource(questions, Letters(), batch_size=3, max_length=20, pairs=True)
    by_id = {q.id: q for q in questions}
    for batch in itertools.islice(source, 5):
        batch.check()
        other = batch.view("rejected")
        for row, i in enumerate(batch["id"].tolist()):
            tokens, learned = expected(by_id[i], "rejected")
            assert other["input_ids"][row, : len(tokens)].tolist() == tokens
            assert other["attention_mask"][row].sum() == len(tokens)
            assert other["completion_mask"][row, : len(tokens)].tolist() == learned
            assert batch["input_ids"][row, : len(expected(by_id[i])[0])].tolist() == expected(by_id[i])[0]


@pytest.mark.parametrize("options", [{}, {"packed": True}, {"pairs": True}])
def test_it_goes_on_to_the_bit(options):
    def new():
        return CompletionSource(made(*SIZES), Letters(), batch_size=2, max_length=16, seed=5, **options)

    source = new()
    assert isinstance(source, Stateful)
    stream = iter(source)
    for _ in range(5):
        next(stream)
    state = source.state_dict()
    resumed = new()
    resumed.load_state_dict(state)
    for one, other in zip(itertools.islice(stream, 12), resumed, strict=False):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_another_seed_gives_another_order_and_other_data_refuse_the_state():
    first, second = (CompletionSource(made(*SIZES), Letters(), batch_size=7, max_length=16, seed=s) for s in (0, 1))
    assert not torch.equal(next(iter(first))["id"], next(iter(second))["id"])
    fewer = CompletionSource(made(*SIZES[:4]), Letters(), batch_size=2, max_length=16)
    with pytest.raises(CheckpointError, match="goes over 7 examples, but the data have 4"):
        fewer.load_state_dict(first.state_dict())


def test_what_is_too_long_is_named_with_what_would_work():
    with pytest.raises(DataError, match=r"max_length is 9, but 2 of 7 .*\(id 1003\), of 10 tokens. Use max_length=10,"):
        CompletionSource(made(*SIZES), Letters(), batch_size=2, max_length=9)
    with pytest.raises(DataError, match=r"the first is '(.)\1{59}\.\.\.' \(id 1000\)"):
        CompletionSource(made((99, 1)), Letters(), batch_size=1, max_length=9)


def test_truncation_cuts_the_end_of_completions():
    questions = made(*SIZES)
    source = CompletionSource(questions, Letters(), batch_size=7, max_length=8, truncate=True)
    batch = next(iter(source))
    by_id = {q.id: expected(q)[0][:8] for q in questions}
    for i, ids, attention in zip(batch["id"].tolist(), batch["input_ids"], batch["attention_mask"], strict=True):
        assert ids[attention == 1].tolist() == by_id[i]
    assert batch["completion_mask"].any(1).all()
    with pytest.raises(DataError, match=r"max_length is 7, which leaves no token of the completion of .*\(id 1006\)"):
        CompletionSource(questions, Letters(), batch_size=2, max_length=7, truncate=True)


def question(**fields):
    return Questions(items=(Question(id=5, prompt="37+85=", **fields),))


@pytest.mark.parametrize(
    ("questions", "options", "message"),
    [
        (question(), {}, r"'37\+85=' \(id 5\) has no completion"),
        (question(completion=""), {}, r"'37\+85=' \(id 5\) has an empty completion"),
        (question(completion="a"), {"pairs": True}, "has no rejected"),
        (question(completion="a"), {"pairs": True, "packed": True}, "packed and pairs are both True"),
        (question(completion="a"), {"batch_size": 2}, "batch_size is 2, but there are only 1 rows; use at most 1"),
        (question(completion="a"), {"max_length": 1}, "max_length is 1, but must be at least 2"),
        (Questions(items=()), {}, "There are no questions"),
    ],
)
def test_what_cannot_work_is_refused(questions, options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        CompletionSource(questions, Letters(), **{"batch_size": 1, "max_length": 64, **options})


def test_a_prompt_without_tokens_is_refused():
    class Silent(Letters):
        def prompt(self, question):
            return []

    with pytest.raises(DataError, match="has no tokens"):
        CompletionSource(question(completion="a"), Silent(), batch_size=1, max_length=9)
