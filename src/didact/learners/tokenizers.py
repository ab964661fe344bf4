"""Text to token ids and back, for causal language models: bytes, pairs of digits, or a Hugging Face tokenizer."""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from didact.documents import Document, Values
from didact.errors import ConfigError
from didact.learners.chat_template import ChatTemplate
from didact.types import Question

_NUMBERS = re.compile(rb"[0-9]{2}|.", re.DOTALL)


class Tokens(Protocol):
    """A tokenizer, as a causal language model has one."""

    eos: int
    """The id that ends a sequence, and the completion of a plain prompt."""
    ends: frozenset[int]
    """The ids that end a completion: `eos`, and end-of-turn tokens."""
    pad: int
    """The id of padding; may be `eos`, since masks mark padding."""
    bos: int | None
    """The id that begins a sequence; None where the model has none."""
    vocabulary: int
    """The number of ids in use: 0 to `vocabulary` - 1."""
    chat_template: bool
    """Whether it has a chat template; `plain_chat` is used otherwise."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens around it."""
        ...

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of some ids; special tokens are left out unless `special`."""
        ...

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The span of each token of `encode(text)`: its start and end in the bytes of the text's UTF-8."""
        ...

    def prompt(self, question: Question) -> list[int]:
        """The ids of a prompt: `bos` and the prompt, or its conversation with the generation prompt."""
        ...

    def completion(self, question: Question, text: str | None = None) -> list[int]:
        """The ids of a whole completion, with the token that ends it.

        Args:
            question: the prompt.
            text: the completion; by default the question's own, with its `reply`.
        """
        ...

    def turns(self, question: Question) -> tuple[list[int], list[bool]]:
        """The ids of prompt and completion, and for each whether it is the assistant's, in any turn."""
        ...


class ByteTokens:
    """A tokenizer whose tokens are the bytes of the UTF-8 text: nothing to train, no unknown tokens.

    The ids are those of `sources.ByteTokenizer`: pad 0, bos 1, eos 2, 3 is never produced, and byte b is 4 + b.
    """

    pad: int = 0
    bos: int | None = 1
    eos: int = 2
    ends: frozenset[int] = frozenset({2})
    vocabulary: int = 260
    chat_template: bool = False

    def encode(self, text: str) -> list[int]:
        """The ids of a text; what UTF-8 can't hold becomes a question mark."""
        return [4 + byte for byte in text.encode(errors="replace")]

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of some ids; ids that are not bytes are left out, and invalid UTF-8 becomes U+FFFD."""
        return bytes(i - 4 for i in ids if 4 <= i < self.vocabulary).decode(errors="replace")

    def spans(self, text: str) -> list[tuple[int, int]]:
        """One byte per token."""
        return [(place, place + 1) for place in range(len(self.encode(text)))]

    def prompt(self, question: Question) -> list[int]:
        """The ids of `bos`, then of the prompt or the conversation."""
        return [1, *self.encode(plain_chat(question.messages) if question.messages else question.prompt)]

    def completion(self, question: Question, text: str | None = None) -> list[int]:
        """The ids of a whole completion, with `eos` at its end."""
        return [*self.encode(_own(question) if text is None else text), self.eos]

    def turns(self, question: Question) -> tuple[list[int], list[bool]]:
        """The ids of prompt and completion, and for each whether it is the assistant's.

        Raises:
            ConfigError: the conversation has several turns of the assistant, without end-of-turn tokens.
        """
        return _last_turn(self, question)


class NumberTokens(ByteTokens):
    """As `ByteTokens`, but two digits in a row, from the left, are one token: 260 + 37 is `37`.

    It imitates the tokenizers of larger models, which merge frequent sequences.
    """

    vocabulary: int = 360

    def encode(self, text: str) -> list[int]:
        """The ids of a text; what UTF-8 can't hold becomes a question mark."""
        whole = text.encode(errors="replace")
        return [260 + int(part) if len(part) == 2 else 4 + part[0] for part in _NUMBERS.findall(whole)]

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of some ids; unused ids are left out, and invalid UTF-8 becomes U+FFFD."""
        parts = (b"%02d" % (i - 260) if i >= 260 else bytes([i - 4]) for i in ids if 4 <= i < self.vocabulary)
        return b"".join(parts).decode(errors="replace")

    def spans(self, text: str) -> list[tuple[int, int]]:
        """One or two bytes per token."""
        ends = [0, *itertools.accumulate(2 if i >= 260 else 1 for i in self.encode(text))]
        return list(itertools.pairwise(ends))


class HubTokens:
    """A Hugging Face tokenizer; no code that comes with it is run.

    Args:
        name: directory, hub name, or a file of GGUF.
        ends: further ids that end a completion, from the model's `generation_config`.

    Raises:
        ConfigError: there is no tokenizer, or it has no token that ends a sequence.
        MissingExtraError: transformers is not installed, or gguf, for such a file.
    """

    def __init__(self, name: str, *, ends: Iterable[int] = ()) -> None:
        from didact.learners import huggingface

        self.tokenizer: Any = huggingface.load_tokenizer(name)
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                f"The tokenizer of {name!r} has no end-of-sequence token, so that no completion would ever end; set "
                "its eos_token and save it again."
            )
        self.name = name
        self.eos = int(self.tokenizer.eos_token_id)
        pad = self.tokenizer.pad_token_id
        self.pad = self.eos if pad is None else int(pad)
        self.vocabulary = len(self.tokenizer)
        self.template = None if self.tokenizer.chat_template is None else ChatTemplate(self.tokenizer, name)
        self.chat_template = self.template is not None
        closing = None if self.template is None else self.template.end
        self.ends: frozenset[int] = frozenset({self.eos, *ends, *([] if closing is None else [closing])})
        self.bos = self._wanted_bos()

    def _wanted_bos(self) -> int | None:
        """The id of bos if the tokenizer itself puts it before a text; many have one and don't."""
        bos = self.tokenizer.bos_token_id
        return bos if bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos] else None

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without additions; a special token that is spelled out in it becomes that token."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of some ids, with all spaces; special tokens are left out unless `special`."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The span of each token in the bytes of the text's UTF-8; spans of tokens that share a character overlap.

        Raises:
            ConfigError: the tokenizer has no offsets.
        """
        if not self.tokenizer.is_fast:
            raise ConfigError(
                f"The tokenizer of {self.name!r} does not tell where its tokens lie in a text; give one with a "
                "tokenizer.json, or a teacher with the learner's tokenizer."
            )
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ends = [0, *itertools.accumulate(len(character.encode(errors="replace")) for character in text)]
        return [(ends[start], ends[end]) for start, end in found["offset_mapping"]]

    def prompt(self, question: Question) -> list[int]:
        """The ids of a prompt: `bos` where the model has one and the prompt, or the conversation in the chat template.

        Without `bos`, an empty prompt is `eos`, as texts are separated in pretraining.

        Raises:
            ConfigError: the chat template refuses the conversation.
        """
        if question.messages and self.template is not None:
            return self.template.prompt(question)
        text = plain_chat(question.messages) if question.messages else question.prompt
        ids = [*([] if self.bos is None else [self.bos]), *self.encode(text)]
        return ids if ids or text else [self.eos]

    def completion(self, question: Question, text: str | None = None) -> list[int]:
        """The ids of a whole completion with the token that ends it, in a conversation as the chat template renders it.

        Raises:
            ConfigError: the chat template renders the conversation with its completion differently from the prompt.
        """
        if question.messages and self.template is not None:
            return self.template.completion(question, answer_message(question, text))
        return [*self.encode(_own(question) if text is None else text), self.eos]

    def turns(self, question: Question) -> tuple[list[int], list[bool]]:
        """The ids of prompt and completion, and for each whether it is the assistant's, in any turn.

        Raises:
            ConfigError: the chat template renders a turn differently once others follow; or there is no template, and
                several turns of the assistant, without end-of-turn tokens.
        """
        if question.messages and self.template is not None:
            return self.template.turns(question, answer_message(question))
        return _last_turn(self, question)

    def save(self, directory: str | Path) -> None:
        """Save its files for `AutoTokenizer.from_pretrained`."""
        self.tokenizer.save_pretrained(directory)


def answer_message(question: Question, text: str | None = None) -> Document:
    """The assistant's message of a text, or by default of the question's own completion, with its `reply`."""
    return (
        {"role": "assistant", "content": _own(question), **question.reply}
        if text is None
        else {"role": "assistant", "content": text}
    )


def _own(question: Question) -> str:
    return question.completion or ""


def _last_turn(tokenizer: Tokens, question: Question) -> tuple[list[int], list[bool]]:
    """The ids of prompt and completion, of which the last turn alone is the assistant's."""
    if any(message["role"] == "assistant" for message in question.messages):
        raise ConfigError(
            "turns is 'all', but the model has no chat template, so that earlier turns have no end-of-turn token; use "
            "turns='last', or give a model with a chat template."
        )
    prompt, answer = tokenizer.prompt(question), tokenizer.completion(question)
    return [*prompt, *answer], [False] * len(prompt) + [True] * len(answer)


def plain_chat(messages: Sequence[Values]) -> str:
    """A conversation as text, for a model without a chat template: a line `role: content` a message, then `assistant:`.

    Args:
        messages: each with `role` and `content`.
    """
    return "".join(f"{message['role']}: {message.get('content') or ''}\n" for message in messages) + "assistant:"
