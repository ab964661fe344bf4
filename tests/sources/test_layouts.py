"""The layouts of data sets in the world: each is recognised by its name, and nothing with a meaning is dropped."""

import json

import pytest

from didact.errors import ConfigError, DataError
from didact.sources import distinct_ids, from_records, join_questions, load_questions, read_mixture, split_questions

USER = {"role": "user", "content": "hi"}
YO = {"role": "assistant", "content": "yo"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def one(**record):
    (question,) = from_records([record], name="q")
    return question


def sentence(*records):
    return from_records(records, name="q").layouts[0]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("prompt and completion", {"prompt": "a", "completion": "b"}),
        ("prompts", {"prompt": "a"}),
        ("messages", {"messages": [USER, YO]}),
        ("messages with tools", {"messages": [USER, YO], "tools": [TOOL]}),
        ("ShareGPT", {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]}),
        ("Alpaca", {"instruction": "a", "input": "b", "output": "c"}),
        ("text", {"text": "a b c"}),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": "c"}),
        ("preference", {"chosen": [USER, YO], "rejected": [USER, {**YO, "content": "no"}]}),
        ("unpaired preference (KTO)", {"prompt": "a", "completion": "b", "label": False}),
    ],
)
def test_a_layout_is_named(name, record):
    assert sentence(record).startswith(f"q was read as {name}, 1 row")
    assert "Other columns" not in sentence(record)


def test_columns_that_are_no_part_of_a_question_are_named():
    assert sentence({"question": "a", "level": 3, "answer": 1}, {"question": "b", "source": "x"}) == (
        "q was read as prompts, 2 rows (prompt from question). Other columns, kept for verifiers and "
        "methods: level, source."
    )


def test_alpaca_puts_the_input_behind_the_instruction():
    found = one(instruction="Add.", input="1 1", output="2")
    assert (found.prompt, found.completion, found.data) == ("Add.\n\n1 1", "2", {})
    assert one(instruction="Add.", input="", output="2").prompt == "Add."
    assert one(input="1+1", output="2").prompt == "1+1"
    whole = one(instruction="b", output="d", system="S", history=[["a", "c"]])
    roles = [(m["role"], m["content"]) for m in whole.messages]
    assert roles == [("system", "S"), ("user", "a"), ("assistant", "c"), ("user", "b")]
    stdin = one(prompt="read a number", input="3", tests=["x"])
    assert (stdin.prompt, stdin.data) == ("read a number", {"input": "3", "tests": ["x"]})


def test_share_gpt_has_the_roles_of_chat_templates():
    said = [("system", "S"), ("human", "add"), ("function_call", '{"name": "add", "arguments": {"a": 1}}')]
    said += [("observation", "2"), ("gpt", "two")]
    found = one(conversations=[{"from": who, "value": words} for who, words in said], tools=json.dumps([TOOL]))
    assert [m["role"] for m in found.messages] == ["system", "user", "assistant", "tool"]
    assert found.messages[2]["tool_calls"] == [{"name": "add", "arguments": {"a": 1}}]
    assert (found.completion, found.tools) == ("two", (TOOL,))
    with pytest.raises(DataError, match=r"a message from 'gtp', which is unknown\. Did you mean gpt"):
        one(conversations=[{"from": "gtp", "value": "x"}])


def test_calls_of_tools_are_kept_with_their_arguments_as_objects():
    calls = {"role": "assistant", "content": None, "tool_calls": [CALL], "name": None}
    result = {"role": "tool", "content": [{"type": "text", "text": "2"}], "tool_call_id": "c1"}
    found = one(messages=[USER, calls, result, {"role": "assistant", "content": "", "tool_calls": [CALL]}])
    read = {**CALL, "function": {"name": "add", "arguments": {"a": 1}}}
    assert found.messages[1] == {"role": "assistant", "content": "", "tool_calls": [read]}
    assert found.messages[2] == {"role": "tool", "content": "2", "tool_call_id": "c1"}
    assert (found.completion, found.reply, found.answered) == ("", {"tool_calls": [read]}, True)
    assert not one(messages=[USER]).answered
    other = {**CALL, "function": {"name": "sub", "arguments": "{}"}}
    last = [{"role": "assistant", "content": "", "tool_calls": [call]} for call in (CALL, other)]
    assert one(messages=[USER, last[0]]).id != one(messages=[USER, last[1]]).id


def test_a_label_is_kept_only_where_it_says_whether_an_answer_is_good():
    assert [q.label for q in from_records([{"prompt": "a", "completion": "b", "label": i} for i in (True, False)])] == [
        True,
        False,
    ]
    assert one(prompt="a", label=3).data == {"label": 3}
    assert one(prompt="a", completion="b", label="good").data == {"label": "good"}


def test_texts_are_told_apart_though_they_ask_nothing():
    texts = from_records([{"text": f"text {i}"} for i in range(40)])
    assert (texts[0].prompt, texts[0].messages, texts[0].completion) == ("", (), "text 0")
    assert min(map(len, split_questions(texts))) > 0
    assert one(prompt="a", text="b").data == {"text": "b"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "a", "images": ["x.png"]}, "the column 'images', but didact's language models read only text"),
        ({"messages": [USER, {**YO, "weight": 0}]}, "a message of weight 0"),
        ({"messages": [USER, {**YO, "tool_calls": [{"x": 1}]}]}, "without the name of a tool"),
        ({"messages": [USER, {**YO, "tool_calls": [{"name": "f", "arguments": "{"}]}]}, "whose arguments are no JSON"),
        ({"messages": [USER], "tools": "f, g"}, "tools that are no JSON"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]},
            "where a conversation should be",
        ),
        ({"prompt": [USER], "chosen": [{**YO, "tool_calls": [CALL]}], "rejected": [YO]}, "a pair with tool_calls"),
        ({"instruction": "a", "history": [["b"]]}, "a history that is no list of pairs"),
    ],
)
def test_what_has_a_meaning_is_read_or_refused(record, message):
    with pytest.raises(DataError, match=message):
        one(**record)


def test_the_columns_of_a_preference_that_are_not_read_are_named():
    both = [USER, YO]
    worse = [USER, {**YO, "content": "no"}]
    words = sentence({"prompt": "hi", "chosen": both, "rejected": worse, "messages": both, "score_chosen": 3.0})
    assert words.endswith("methods: messages, score_chosen.")


def test_parquet_fills_up_with_nothing_that_is_read(tmp_path):
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    calls = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}
    others = {"role": "assistant", "content": "", "tool_calls": [{"name": "g", "arguments": {"b": "x"}}]}
    rows = [{"messages": [USER, calls]}, {"messages": [USER, others]}, {"messages": [USER, YO]}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "q.parquet")
    found = load_questions(tmp_path / "q.parquet")
    assert [q.messages for q in found] == [(USER,)] * 3
    assert found[0].reply == {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]}
    assert found[1].reply == {"tool_calls": [{"name": "g", "arguments": {"b": "x"}}]}
    assert found[2].reply == {}


def test_a_mixture_is_read_from_words(tmp_path, monkeypatch):
    assert read_mixture("a.jsonl*0.7+hf:b/c * .3") == [("a.jsonl", 0.7), ("hf:b/c", 0.3)]
    assert read_mixture("a.jsonl+b.jsonl") == [("a.jsonl", None), ("b.jsonl", None)]
    assert read_mixture("a*2.jsonl") == [("a*2.jsonl", None)]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b*2").touch()
    assert read_mixture("a+b*2") == [("a+b*2", None)]
    for words, message in (("a*1+b", "'b' has no share"), ("a*0+b*1", "shares above 0"), ("a+", "is like")):
        with pytest.raises(ConfigError, match=message):
            read_mixture(words)


def test_a_mixture_weighs_each_question_by_the_share_of_its_file():
    a = from_records([{"id": i, "prompt": f"a{i}"} for i in range(6)], name="a")
    b = from_records([{"id": i, "prompt": f"b{i}"} for i in range(2)], name="b")
    parts = distinct_ids([a, b])
    assert parts[0] is a
    assert len({q.id for part in parts for q in part}) == 8
    assert [q.id for q in distinct_ids([a, b])[1]] == [q.id for q in parts[1]]
    assert distinct_ids([a, a])[1] is a
    both = join_questions(parts, (1.0, 3.0))
    assert [q.weight for q in both] == pytest.approx([8 * 0.25 / 6] * 6 + [8 * 0.75 / 2] * 2)
    assert [q.weight for q in join_questions(parts)] == [1.0] * 8
    assert both.layouts == (*a.layouts, *b.layouts)
    with pytest.raises(ConfigError, match="for the verifiers exact and none"):
        join_questions([a, from_records([{"prompt": "x"}], verifier="exact")])


def test_a_few_rows_fill_every_split_whatever_the_seed():
    rows = from_records([{"prompt": f"row {i}"} for i in range(24)])
    for seed in range(300):
        parts = split_questions(rows, seed=seed)
        assert min(map(len, parts)) > 0
        assert sum(map(len, parts)) == 24
        if seed < 20:
            again = split_questions(rows.select(range(23, -1, -1)), seed=seed)
            assert [{q.id for q in part} for part in again] == [{q.id for q in part} for part in parts]
    assert list(map(len, split_questions(rows.select(range(3)), validation=0.01, test=0.01))) == [1, 1, 1]


def test_what_verifiers_look_for_may_be_called_otherwise():
    rows = [{"text": "Add.", "test_list": ["assert f(1, 1) == 2"], "tests": "others", "code": "c"}]
    (found,) = from_records(rows, columns={"prompt": "text", "tests": "test_list", "completion": "code"})
    assert (found.prompt, found.completion, found.data) == ("Add.", "c", {"tests": ["assert f(1, 1) == 2"]})
    with pytest.raises(DataError, match=r"no column 'test', which is to be the tests\. Did you mean tests"):
        from_records(rows, columns={"tests": "test"})
    with pytest.raises(ConfigError, match=r"columns is 'testes', which is not known\. Did you mean tests"):
        from_records(rows, columns={"testes": "test_list"})
