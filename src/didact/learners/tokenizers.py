"""Text to token ids and back, for causal language models: bytes, pairs of digits, or a Hugging Face tokenizer."""

import contextlib
import itertools
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from didact.errors import ConfigError
from didact.types import Question

if TYPE_CHECKING:
    from _typeshed import TraceFunction

TEMPLATE_SECONDS = 10.0
"""How long a chat template may compute for a conversation."""
_NUMBERS = re.compile(rb"[0-9]{2}|.", re.DOTALL)


class Tokens(Protocol):
    """A tokenizer, as a causal language model has one."""

    eos: int
    """The id that ends a sequence."""
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

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, special tokens left out."""
        ...

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The span of each token of `encode(text)`: its start and end in the bytes of the text's UTF-8."""
        ...

    def prompt(self, question: Question) -> list[int]:
        """The ids of a prompt: `bos` and the prompt, or its conversation with the generation prompt."""
        ...

    def completion(self, text: str) -> list[int]:
        """The ids of a whole completion: the text, and `eos`."""
        ...


class ByteTokens:
    """A tokenizer whose tokens are the bytes of the UTF-8 text: nothing to train, no unknown tokens.

    The ids are those of `sources.ByteTokenizer`: pad 0, bos 1, eos 2, 3 is never produced, and byte b is 4 + b.
    """

    pad: int = 0
    bos: int | None = 1
    eos: int = 2
    vocabulary: int = 260
    chat_template: bool = False

    def encode(self, text: str) -> list[int]:
        """The ids of a text; what UTF-8 can't hold becomes a question mark."""
        return [4 + byte for byte in text.encode(errors="replace")]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids; ids that are not bytes are left out, and invalid UTF-8 becomes U+FFFD."""
        return bytes(i - 4 for i in ids if 4 <= i < self.vocabulary).decode(errors="replace")

    def spans(self, text: str) -> list[tuple[int, int]]:
        """One byte per token."""
        return [(place, place + 1) for place in range(len(self.encode(text)))]

    def prompt(self, question: Question) -> list[int]:
        """The ids of `bos`, then of the prompt or the conversation."""
        return [1, *self.encode(plain_chat(question.messages) if question.messages else question.prompt)]

    def completion(self, text: str) -> list[int]:
        """The ids of a whole completion, with `eos` at its end."""
        return [*self.encode(text), self.eos]


class NumberTokens(ByteTokens):
    """As `ByteTokens`, but two digits in a row, from the left, are one token: 260 + 37 is `37`.

    It imitates the tokenizers of larger models, which merge frequent sequences.
    """

    vocabulary: int = 360

    def encode(self, text: str) -> list[int]:
        """The ids of a text; what UTF-8 can't hold becomes a question mark."""
        whole = text.encode(errors="replace")
        return [260 + int(part) if len(part) == 2 else 4 + part[0] for part in _NUMBERS.findall(whole)]

    def decode(self, ids: Sequence[int]) -> str:
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
        name: directory or hub name.

    Raises:
        ConfigError: there is no tokenizer, or it has no token that ends a sequence.
        MissingExtraError: transformers is not installed.
    """

    def __init__(self, name: str) -> None:
        from didact.learners import huggingface

        transformers = huggingface._transformers()
        with huggingface._explained(name, "tokenizer"), huggingface._quiet():
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
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
        self.chat_template = self.tokenizer.chat_template is not None
        self.bos = self._wanted_bos()

    def _wanted_bos(self) -> int | None:
        """The id of bos if the tokenizer itself puts it before a text; many have one and don't."""
        bos = self.tokenizer.bos_token_id
        return bos if bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos] else None

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without additions; a special token that is spelled out in it becomes that token."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, special tokens left out, spaces as they are."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

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

        Raises:
            ConfigError: the chat template refuses the conversation.
        """
        if question.messages and self.chat_template:
            return self.encode(self._rendered(question))
        text = plain_chat(question.messages) if question.messages else question.prompt
        return [*([] if self.bos is None else [self.bos]), *self.encode(text)]

    def _rendered(self, question: Question) -> str:
        messages = [dict(message) for message in question.messages]
        try:
            with _limited():
                return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:
            raise ConfigError(
                f"The chat template of {self.name!r} refuses the messages of question {question.id}: {error}. Give "
                "roles that it knows, or a prompt in the place of messages."
            ) from error

    def completion(self, text: str) -> list[int]:
        """The ids of a whole completion, with `eos` at its end."""
        return [*self.encode(text), self.eos]

    def save(self, directory: str | Path) -> None:
        """Save its files for `AutoTokenizer.from_pretrained`."""
        self.tokenizer.save_pretrained(directory)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Stop a chat template that computes for long: jinja's sandbox bounds a loop, but not the loops within it.

    Each line of the template's own code is traced, in this thread alone; time in which it waits does not count.
    """
    end = time.thread_time() + TEMPLATE_SECONDS

    def line(_frame: FrameType, _event: str, _given: object) -> "TraceFunction":
        if time.thread_time() > end:
            raise TimeoutError(f"it computes for more than {TEMPLATE_SECONDS:g} seconds")
        return line

    def call(frame: FrameType, _event: str, _given: object) -> "TraceFunction | None":
        return line if frame.f_code.co_filename == "<template>" else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)


def plain_chat(messages: Sequence[Mapping[str, str]]) -> str:
    """A conversation as text, for a model without a chat template: a line `role: content` a message, then `assistant:`.

    Args:
        messages: each with `role` and `content`.
    """
    return "".join(f"{message['role']}: {message['content']}\n" for message in messages) + "assistant:"
