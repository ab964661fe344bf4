"""Text to ids and back."""

import sys
import time

import pytest

from didact.errors import ConfigError
from didact.learners import ByteTokens, HubTokens, chat_template
from didact.learners.tokenizers import plain_chat
from didact.sources.text import ByteTokenizer
from didact.types import Question
from tiny_language import TEMPLATE, save_tokenizer

MESSAGES = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "b"})


def question(prompt="hi", messages=()):
    return Question(id=7, prompt=prompt, messages=messages)


def test_bytes_have_the_ids_of_the_sources_tokenizer():
    tokens, other = ByteTokens(), ByteTokenizer(max_length=64)
    text = "naïve → 猫"
    assert [tokens.bos, *tokens.completion(question(), text)] == other([text])["input_ids"][0].tolist()
    assert (tokens.pad, tokens.bos, tokens.eos, tokens.vocabulary) == (other.PAD, other.BOS, other.EOS, len(other))


def test_bytes_come_back_without_special_tokens():
    tokens = ByteTokens()
    text = "naïve → 猫\n\0"
    assert tokens.decode([1, *tokens.encode(text), 2, 0, 0, 300]) == text
    assert tokens.decode(tokens.encode("é")[:1]) == "�"
    assert tokens.encode("\ud800") == [4 + ord("?")]


def test_a_conversation_without_a_template_is_lines():
    tokens = ByteTokens()
    assert plain_chat(MESSAGES) == "user: hi\nassistant: yo\nuser: b\nassistant:"
    assert tokens.prompt(question("never read", MESSAGES)) == [1, *tokens.encode(plain_chat(MESSAGES))]
    assert tokens.prompt(question()) == [1, 4 + ord("h"), 4 + ord("i")]
    assert not tokens.chat_template


def test_a_hub_tokenizer(tmp_path):
    save_tokenizer(tmp_path)
    tokens = HubTokens(str(tmp_path))
    assert (tokens.pad, tokens.bos, tokens.eos, tokens.vocabulary, tokens.chat_template) == (0, 1, 2, 259, False)
    ids = tokens.encode("hi  , you .")
    assert len(ids) == 11 and not {0, 1, 2} & set(ids)
    assert tokens.decode([1, *ids, 2, 0]) == "hi  , you ."
    assert tokens.completion(question(), "hi") == [*tokens.encode("hi"), 2]
    assert tokens.prompt(question()) == [1, *tokens.encode("hi")]
    assert tokens.prompt(question("", MESSAGES)) == [1, *tokens.encode(plain_chat(MESSAGES))]


def test_bos_is_there_only_where_the_tokenizer_puts_it(tmp_path):
    save_tokenizer(tmp_path, begins=False)
    tokens = HubTokens(str(tmp_path))
    assert tokens.bos is None
    assert tokens.prompt(question()) == tokens.encode("hi")


def test_a_chat_template_opens_the_answer_and_brings_its_own_bos(tmp_path):
    save_tokenizer(tmp_path, template=TEMPLATE)
    tokens = HubTokens(str(tmp_path))
    user, answer, end = tokens.encode("uhi"), tokens.encode("ayo"), tokens.encode("ub")
    assert tokens.chat_template
    assert tokens.prompt(question("", MESSAGES)) == [1, *user, 2, 1, *answer, 2, 1, *end, 2, 1, *tokens.encode("a")]
    assert tokens.prompt(question("hi")) == [1, *tokens.encode("hi")]
    with pytest.raises(ConfigError, match="question 7: no system here"):
        tokens.prompt(question("", ({"role": "system", "content": "x"},)))


LOOP = "{% for i in range(99999) %}BODY{% endfor %}"


@pytest.mark.parametrize(
    "endless",
    [
        LOOP.replace("BODY", LOOP).replace("BODY", ""),
        LOOP.replace("BODY", LOOP).replace("BODY", "x"),
        "{% set l = range(99999)|list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% for i in range(99999) %}{{ m(n + 1) }}{% endfor %}{% endmacro %}{{ m(0) }}",
        LOOP.replace("BODY", "{% set x = range(99999)|sort|list %}"),
    ],
)
def test_a_chat_template_that_never_ends_is_stopped(tmp_path, monkeypatch, endless):
    monkeypatch.setattr(chat_template, "TEMPLATE_SECONDS", 0.1)
    save_tokenizer(tmp_path, template=endless)
    before, began = sys.gettrace(), time.thread_time()
    with pytest.raises(ConfigError, match=r"messages of question 7: (it computes for more than 0\.1|maximum)"):
        HubTokens(str(tmp_path)).prompt(question("", MESSAGES))
    assert time.thread_time() - began < 30
    assert sys.gettrace() is before


def test_a_long_chat_template_that_ends_is_rendered(tmp_path):
    save_tokenizer(tmp_path, template=LOOP.replace("BODY", "{% if i % 9999 == 0 %}x{% endif %}"))
    tokens = HubTokens(str(tmp_path))
    assert tokens.prompt(question("", MESSAGES)) == tokens.encode("x" * 11)


def test_padding_falls_back_to_eos_and_eos_must_be_there(tmp_path):
    save_tokenizer(tmp_path / "a", eos_token="</s>")
    assert HubTokens(str(tmp_path / "a")).pad == 2
    save_tokenizer(tmp_path / "b", pad_token="<pad>")
    with pytest.raises(ConfigError, match="has no end-of-sequence token"):
        HubTokens(str(tmp_path / "b"))
    with pytest.raises(ConfigError, match=r"tokenizer of '.*nowhere' can't be loaded"):
        HubTokens(str(tmp_path / "nowhere"))


def test_a_saved_tokenizer_is_the_same(tmp_path):
    save_tokenizer(tmp_path / "a", template=TEMPLATE)
    first = HubTokens(str(tmp_path / "a"))
    first.save(tmp_path / "b")
    second = HubTokens(str(tmp_path / "b"))
    assert second.prompt(question("", MESSAGES)) == first.prompt(question("", MESSAGES))
    assert second.bos == 1
