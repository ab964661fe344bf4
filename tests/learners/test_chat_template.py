"""Conversations in chat templates: what is learned is what the assistant writes, its end included."""

import pytest

from didact.errors import ConfigError
from didact.learners import HubTokens
from didact.types import Question
from tiny_language import ENDS, GEMMA, TOOLS, save_tokenizer

THINKING = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' and loop.last %}?\n{% endif %}"
    "{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if think is not defined or think %}!{% endif %}{% endif %}"
)
"""Opens a thought that the rendered answer has not; and only the last turn has one."""
PLAIN = (
    "{% for m in messages %}{{ m['role'] }}:\n{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
"""Ends turns with a line break alone."""


def user(words):
    return {"role": "user", "content": words}


def says(words, **more):
    return {"role": "assistant", "content": words, **more}


def asked(*messages, completion="yo", **more):
    return Question(id=7, prompt="", messages=messages, completion=completion, **more)


def tokens(path, template, **options):
    save_tokenizer(path, template=template, added=ENDS, **options)
    return HubTokens(str(path))


def ids_of(tokenizer, *parts):
    """Ids of special tokens by their names, and of words byte by byte."""
    names = {name: tokenizer.tokenizer.convert_tokens_to_ids(name) for name in ("<s>", "</s>", *ENDS)}
    return [i for part in parts for i in ([names[part]] if part in names else tokenizer.encode(part))]


def test_a_turn_ends_where_the_template_ends_it(tmp_path):
    found = tokens(tmp_path, GEMMA)
    (end,) = ids_of(found, "<|end|>")
    assert (found.eos, found.ends) == (2, {2, end})
    assert HubTokens(str(tmp_path), ends=(5,)).ends == {2, 5, end}
    question = asked(user("hi"))
    assert found.prompt(question) == ids_of(found, "<s>", "<|user|>", "hi", "<|end|>", "\n", "<|assistant|>")
    assert found.completion(question) == ids_of(found, "yo", "<|end|>")
    assert found.completion(question, " a \n") == ids_of(found, "a", "<|end|>")
    plain = Question(id=1, prompt="hi", completion="yo")
    assert found.completion(plain) == ids_of(found, "yo", "</s>")


def test_all_turns_are_learned_with_their_ends_and_nothing_else(tmp_path):
    found = tokens(tmp_path, GEMMA)
    question = asked(user("a"), says("b"), user("c"), completion="d")
    ids, learned = found.turns(question)
    turn = ("<|assistant|>", "b", "<|end|>", "\n", "<|user|>", "c", "<|end|>", "\n")
    assert ids == ids_of(found, "<s>", "<|user|>", "a", "<|end|>", "\n", *turn, "<|assistant|>", "d", "<|end|>")
    assert [place for place, flag in enumerate(learned) if flag] == [6, 7, 14, 15]
    assert ids == [*found.prompt(question), *found.completion(question)]


def test_a_template_that_renders_answers_otherwise_is_refused_by_its_first_token(tmp_path):
    found = tokens(tmp_path, THINKING)
    with pytest.raises(ConfigError, match=r"begin with the prompt: token 5 is '!' there and '\?' here"):
        found.completion(asked(user("hi")))
    closed = asked(user("hi"), template={"think": False})
    assert found.completion(closed) == ids_of(found, "?", "\n", "yo", "<|end|>")
    several = asked(user("a"), says("b"), user("c"), template={"think": False})
    with pytest.raises(ConfigError, match=r"an earlier turn alone: token 4 is '\?' there and 'b' here"):
        found.turns(several)


def test_a_template_without_ends_gets_that_of_the_sequence(tmp_path):
    found = tokens(tmp_path, PLAIN)
    assert found.ends == {2}
    assert found.completion(asked(user("hi"))) == ids_of(found, "yo", "</s>")
    with pytest.raises(ConfigError, match="no token after an assistant's turn"):
        found.turns(asked(user("hi"), says("a"), user("b")))


def test_a_token_across_the_border_is_cut_where_the_model_begins_to_write(tmp_path):
    found = tokens(tmp_path, PLAIN, merges=[("Ċ", "Ċ")])
    question = asked(user("hi"), completion="\nyo")
    prompt, answer = found.prompt(question), found.completion(question)
    assert found.encode("\n\n") == [259]
    assert 259 not in prompt and 259 not in answer
    assert found.decode([*prompt, *answer]) == "user:\nhi\nassistant:\n\nyo"


def test_calls_of_tools_are_learned_and_what_is_not_rendered_is_named(tmp_path):
    call = {"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]}
    tool = {"type": "function", "function": {"name": "add"}}
    found = tokens(tmp_path / "a", TOOLS)
    asks = asked(user("1+1"), completion="", reply=call, tools=(tool,))
    assert found.completion(asks) == ids_of(found, "(add)", "<|end|>")
    assert found.decode(found.prompt(asks)).startswith('[{"type": "function"')
    result = {"role": "tool", "name": "add", "content": "2"}
    after = asked(user("1+1"), says("", **call), result, tools=(tool,))
    assert found.template.unread(after, says("2")) == ("name",)
    other = tokens(tmp_path / "b", GEMMA)
    assert other.template.unread(after, says("2")) == ("tools", "name", "tool_calls")
    deaf = tokens(tmp_path / "c", GEMMA.replace("for m in messages", "for m in messages if m['role'] != 'tool'"))
    assert "messages of tool" in deaf.template.unread(after, says("2"))
