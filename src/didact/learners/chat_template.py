"""Chat templates: the token ids of prompts, completions and turns, and the token that ends a turn."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING, Any

from didact.documents import Document, Values
from didact.errors import ConfigError
from didact.types import Question

if TYPE_CHECKING:
    from _typeshed import TraceFunction

TEMPLATE_SECONDS = 10.0
"""How long a chat template may compute for a conversation."""
_SAID = "didact-says-17"
"""A content that occurs in no template."""
_ASKED: Document = {"role": "user", "content": "a"}
_PLAIN = ("role", "content")


class ChatTemplate:
    """The chat template of a Hugging Face tokenizer, rendered in the sandbox of transformers.

    Args:
        tokenizer: the tokenizer; it must have a chat template.
        name: its directory or name, for messages.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self.tokenizer, self.name = tokenizer, name

    @cached_property
    def end(self) -> int | None:
        """The first special token that the template puts after an assistant's turn; None without one."""
        ids = self._encode(self._behind)
        return next((token for token in ids if token in self._special), None)

    @cached_property
    def _behind(self) -> str:
        """The text that the template puts after the content of the last turn."""
        try:
            whole = self._text([_ASKED, {"role": "assistant", "content": _SAID}], Question(id=0, prompt=""))
        except ConfigError:
            return ""
        return whole.rpartition(_SAID)[2] if _SAID in whole else ""

    @cached_property
    def _special(self) -> frozenset[int]:
        """The added tokens; not all that end turns are marked as special."""
        return frozenset(self.tokenizer.added_tokens_decoder) | frozenset(self.tokenizer.all_special_ids)

    @cached_property
    def _rest(self) -> int:
        """The number of tokens after the one that ends a turn, such as a line break."""
        ids = self._encode(self._behind)
        return 0 if self.end is None else len(ids) - 1 - ids.index(self.end)

    def prompt(self, question: Question) -> list[int]:
        """The ids of a conversation with the generation prompt.

        Raises:
            ConfigError: the template refuses the conversation.
        """
        return self._encode(self._text(question.messages, question, opened=True))

    def completion(self, question: Question, message: Values) -> list[int]:
        """The ids of a completion as the template renders it after `prompt`, with its end-of-turn token.

        Args:
            question: a conversation.
            message: the assistant's.

        Raises:
            ConfigError: the rendered conversation with its completion does not begin with the rendered prompt, or does
                not end with the end-of-turn token.
        """
        return self._split(question.messages, message, question)[1]

    def turns(self, question: Question, message: Values) -> tuple[list[int], list[bool]]:
        """The ids of a conversation with its completion, and for each whether it is the assistant's, in any turn.

        Args:
            question: a conversation.
            message: the assistant's last.

        Returns:
            The ids of `prompt` and `completion`, and for each whether it is the assistant's; end-of-turn tokens are.

        Raises:
            ConfigError: as for `completion`; or the template renders an earlier turn differently once others follow, or
                has no end-of-turn token.
        """
        messages = [*question.messages, message]
        ids = [token for part in self._split(question.messages, message, question) for token in part]
        learned = [False] * len(ids)
        for place, one in enumerate(messages):
            if one["role"] != "assistant":
                continue
            if self.end is None:
                raise ConfigError(
                    f"turns is 'all', but the chat template of {self.name!r} puts no token after an assistant's turn, "
                    "so that a model could not learn where it ends; use turns='last'."
                )
            prompt, answer = self._split(messages[:place], one, question)
            until = len(prompt) + len(answer)
            self._check_prefix([*prompt, *answer], ids, question, "an earlier turn alone", "turns='last'")
            learned[len(prompt) : until] = [True] * len(answer)
        return ids, learned

    def unread(self, question: Question, message: Values | None) -> tuple[str, ...]:
        """What a conversation has that the template does not render.

        Args:
            question: a conversation.
            message: the completion's message, if there is one.

        Returns:
            `tools`, keys of messages such as `tool_calls` and `name`, and `messages of ROLE`.
        """
        messages = [*question.messages, *([] if message is None else [message])]
        whole = self._text(messages, question)
        keys = sorted({key for one in messages for key in one if key not in _PLAIN})
        without: dict[str, list[Values]] = {
            key: [{k: v for k, v in one.items() if k != key} for one in messages] for key in keys
        }
        for role in sorted({str(one["role"]) for one in messages if one.get("content")}):
            without[f"messages of {role}"] = [
                {**one, "content": _SAID} if one["role"] == role and one.get("content") else one for one in messages
            ]
        found = [name for name, changed in without.items() if self._safe(changed, question) == whole]
        bare = Question(id=question.id, prompt="", template=question.template)
        tools = ["tools"] if question.tools and self._safe(messages, bare) == whole else []
        return (*tools, *found)

    def _safe(self, messages: Sequence[Values], question: Question) -> str | None:
        """The rendered conversation; None if the template raises, as it does if something that it needs is missing."""
        try:
            return self._text(messages, question)
        except ConfigError:
            return None

    def _split(self, messages: Sequence[Values], message: Values, question: Question) -> tuple[list[int], list[int]]:
        """The ids of a prompt, and those of the completion after it."""
        given, whole = self._text(messages, question, opened=True), self._text([*messages, message], question)
        if self.end is None:
            whole = whole.removesuffix(self._behind)
        prompt, ids = self._encode(given), self._encode(whole)
        if not whole.startswith(given):
            self._check_prefix(
                prompt, ids, question, "the prompt", "chat_template_kwargs such as enable_thinking=false"
            )
        if ids[: len(prompt)] != prompt:
            # A token spans the border, such as two line breaks. After the prompt, a model generates the rest of it.
            ids = [*prompt, *self._encode(whole[len(given) :])]
            if self._decode(ids) != self._decode(self._encode(whole)):
                self._check_prefix(prompt, self._encode(whole), question, "the prompt", "another template")
        ids = ids[: len(ids) - self._rest]
        if self.end is None:
            return prompt, [*ids[len(prompt) :], int(self.tokenizer.eos_token_id)]
        if len(ids) <= len(prompt) or ids[-1] != self.end:
            raise ConfigError(
                f"The chat template of {self.name!r} does not end the completion of question {question.id} with "
                f"{self._named(self.end)}, as it does others; give a template that ends all turns the same way."
            )
        return prompt, ids[len(prompt) :]

    def _check_prefix(self, first: list[int], whole: list[int], question: Question, what: str, remedy: str) -> None:
        """Raise if a sequence does not begin with another, and name the first token that differs."""
        place = next((i for i, (a, b) in enumerate(zip(first, whole, strict=False)) if a != b), len(whole))
        if place >= len(first):
            return
        there = self._named(whole[place]) if place < len(whole) else "nothing"
        raise ConfigError(
            f"The chat template of {self.name!r} renders question {question.id} with its completion, which does not "
            f"begin with {what}: token {place} is {self._named(first[place])} there and {there} here. The model would "
            f"learn something else than it generates; give {remedy}, or another template."
        )

    def _named(self, token: int) -> str:
        return repr(self._decode([token]))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _text(self, messages: Sequence[Values], question: Question, *, opened: bool = False) -> str:
        """The rendered conversation, with a generation prompt if it is `opened`."""
        options: Values = question.template
        try:
            with _limited():
                return self.tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    tools=[dict(tool) for tool in question.tools] or None,
                    tokenize=False,
                    add_generation_prompt=opened,
                    **options,
                )
        except Exception as error:
            raise ConfigError(
                f"The chat template of {self.name!r} refuses the messages of question {question.id}: {error}. Give "
                "roles that it knows, or a prompt in the place of messages."
            ) from error


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
